#include "lowrank/eval/report.h"

#include <fmt/format.h>

#include "lowrank/eval/html.h"

namespace lowrank::eval {
namespace {

constexpr const char* kHead = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<style>
:root { --paper: #ffffff; --ink: #1c2024; --soft: #60666d; --line: #d9dde1; --block: #f3f5f7; --learned: #cfe8d5; --masked: #eceef0;
  --c0: #1f6fb2; --c1: #c4501b; --c2: #2f8a4c; --c3: #8a4fb0; --c4: #b0247a; --c5: #7a6a00;
  --v1: #4a80a0; --v2: #7d7d7d; --v3: #a06a4a; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181b; --ink: #e6e9ec; --soft: #9aa2aa; --line: #363c42; --block: #1e2226; --learned: #1f4d2e; --masked: #2a2f34;
    --c0: #6cb2f0; --c1: #f0915f; --c2: #74cf92; --c3: #c598e8; --c4: #f08ac4; --c5: #d6c24a;
    --v1: #86a9c4; --v2: #9a9a9a; --v3: #c4a086; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 16px; max-width: 900px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 1.2rem; margin: 32px 0 8px; }
h3 { font-size: 1rem; margin: 0 0 4px; }
p { margin: 4px 0 12px; }
.soft, figcaption, thead th { color: var(--soft); }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid var(--c0); outline-offset: 2px; }
caption { text-align: left; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
th, td { padding: 4px 10px 4px 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: normal; }
th:first-child { text-align: left; }
dl { display: grid; grid-template-columns: minmax(6em, max-content) 1fr; gap: 2px 16px; margin: 12px 0; }
dt { color: var(--soft); }
dd { margin: 0; }
summary { cursor: pointer; margin: 32px 0 8px; font-size: 1.2rem; font-weight: bold; }
.verdict { background: var(--block); border-radius: 6px; padding: 12px; }
figure { margin: 16px 0; max-width: 640px; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font-size: 11px; }
.grid { stroke: var(--line); stroke-width: 0.5; }
.axis { fill: none; stroke: var(--soft); stroke-width: 1; }
.curve { fill: none; stroke: currentColor; stroke-width: 1.5; stroke-linejoin: round; }
.mark { fill: currentColor; }
figcaption { font-size: 0.9rem; }
figcaption span { margin-right: 14px; }
figcaption i { display: inline-block; width: 14px; height: 3px; margin-right: 5px; vertical-align: middle; background: currentColor; }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); }
.c3 { color: var(--c3); } .c4 { color: var(--c4); } .c5 { color: var(--c5); }
.run { fill: none; stroke: currentColor; stroke-width: 1.2; stroke-linejoin: round; stroke-linecap: round; stroke-opacity: 0.8; }
.v0 { color: var(--c0); stroke-width: 2; } .v1 { color: var(--v1); } .v2 { color: var(--v2); } .v3 { color: var(--v3); }
.v4 { color: var(--c1); } .v5 { color: var(--line); stroke-dasharray: 3 3; }
.text { white-space: pre-wrap; background: var(--block); padding: 10px; border-radius: 6px; margin: 4px 0 12px; font-size: 0.95rem; }
.learned { background: var(--learned); color: var(--ink); }
.masked { background: var(--masked); color: var(--soft); }
@media print { body { max-width: none; } .scroll { overflow: visible; } figure, .verdict, tr { break-inside: avoid; } }
.text span { border-radius: 2px; box-shadow: inset 1px 0 0 var(--paper); }
</style>
)";

std::string table_html(const ReportTable& table) {
  const std::string title = html_escape(table.title);
  // What scrolls is reached by the keyboard too.
  std::string html = "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"" + title + "\"><table><caption><h2>" + title +
                     "</h2></caption><thead><tr>";
  for (const std::string& name : table.header) html += "<th scope=\"col\">" + html_escape(name) + "</th>";
  html += "</tr></thead><tbody>\n";
  for (const auto& row : table.rows) {
    html += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) {
      html += i == 0 ? "<th scope=\"row\">" + html_escape(row[i]) + "</th>" : "<td>" + html_escape(row[i]) + "</td>";
    }
    html += "</tr>\n";
  }
  html += "</tbody></table></div>\n";
  if (!table.note.empty()) html += "<p class=\"soft\">" + html_escape(table.note) + "</p>\n";
  return html;
}

std::string facts_html(const char* kind, const std::vector<std::pair<std::string, std::string>>& facts) {
  if (facts.empty()) return "";
  std::string html = fmt::format("<dl class=\"{}\">\n", kind);
  for (const auto& [name, value] : facts)
    html += "<dt>" + html_escape(name) + "</dt><dd>" + html_escape(value) + "</dd>\n";
  return html + "</dl>\n";
}

std::string sample_html(const Sample& sample) {
  std::string html = "<h3>Prompt</h3><div class=\"text masked\">" + html_escape(sample.prompt) + "</div>\n";
  for (const auto& [name, text] : sample.answers) {
    html += "<h3>" + html_escape(name) + "</h3><div class=\"text\">" + html_escape(text) + "</div>\n";
  }
  return html;
}

std::string mask_html(const MaskedText& example) {
  std::string html = "<h3>" + html_escape(example.where) + "</h3><div class=\"text\">";
  for (const auto& [text, learned] : example.pieces) {
    html += fmt::format("<span class=\"{}\">{}</span>", learned ? "learned" : "masked", html_escape(text));
  }
  return html + "</div>\n";
}

}  // namespace

std::string report_html(const Report& report) {
  std::string html = kHead;
  html +=
      "<title>" + html_escape(report.title) + "</title>\n</head>\n<body>\n<h1>" + html_escape(report.title) + "</h1>\n";
  if (!report.subtitle.empty()) html += "<p class=\"soft\">" + html_escape(report.subtitle) + "</p>\n";
  html += facts_html("verdict", report.verdict) + facts_html("facts", report.facts);
  for (const ReportTable& table : report.tables) html += table_html(table);
  if (!report.charts.empty()) html += "<h2>Curves</h2>\n";
  for (const Chart& chart : report.charts) html += chart_html(chart);
  for (const ParallelChart& chart : report.parallels) html += chart_html(chart);
  if (!report.samples.empty())
    html += "<h2>Samples</h2>\n<p class=\"soft\">Each prompt continued greedily, the likeliest token every time.</p>\n";
  for (const Sample& sample : report.samples) html += sample_html(sample);
  if (!report.masks.empty()) {
    html +=
        "<h2>What is learned</h2>\n<p class=\"soft\">Tokens of a few examples: <span class=\"learned\">learned</span>, "
        "or "
        "<span class=\"masked\">only read</span>.</p>\n";
  }
  for (const MaskedText& example : report.masks) html += mask_html(example);
  if (!report.options.empty()) html += "<details><summary>Options</summary>\n" + facts_html("facts", report.options) + "</details>\n";
  return html + "</body>\n</html>\n";
}

}  // namespace lowrank::eval
