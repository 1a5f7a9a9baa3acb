#include "lowrank/apps/training/run_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowrank/apps/console/style.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"
#include "lowrank/core/visible.h"

namespace lowrank::apps {

namespace {

using recipes::DataUsed;
using recipes::RunReport;

std::vector<std::string> data_row(const DataUsed& used) {
  const data::ReadReport& r = used.report;
  const double masked =
      r.tokens == 0 ? 0 : 100.0 * static_cast<double>(r.tokens - r.learned_tokens) / static_cast<double>(r.tokens);
  return {used.name,
          r.format,
          core::format_count(r.documents),
          core::format_count(r.examples),
          core::format_count(r.tokens),
          fmt::format("{:.1f} %", masked),
          core::format_count(r.truncated),
          core::format_count(r.empty),
          core::format_count(r.duplicates)};
}

/// Without columns of noughts where the terminal is too narrow for all.
std::string data_table(std::vector<std::string> header, std::vector<std::vector<std::string>> rows) {
  for (std::size_t column = header.size(); stdout_is_terminal() && column-- > 0;) {
    const std::string text = table(header, rows);
    if (core::width_of(text.substr(0, text.find('\n'))) <= stdout_columns()) break;
    if (!std::all_of(rows.begin(), rows.end(), [&](const auto& row) { return row[column] == "0"; })) continue;
    const auto drop = [column](auto& cells) { cells.erase(cells.begin() + static_cast<std::ptrdiff_t>(column)); };
    drop(header);
    for (auto& row : rows) drop(row);
  }
  return table(header, rows);
}

}  // namespace

void print_opening(const Console& console, const RunReport& report) {
  std::vector<std::pair<std::string, std::string>> rows;
  rows.emplace_back("model",
                    fmt::format("{} ({}, {} parameters, {} on disk)", report.model_name, report.model_type,
                                core::format_count(report.base_parameters), core::format_bytes(report.base_bytes)));
  rows.emplace_back("dtype", report.dtype + " (" + report.dtype_reason + ")");
  if (report.adapter) {
    const lora::LoraConfig& c = *report.adapter;
    rows.emplace_back("adapter",
                      fmt::format("{} r = {}, alpha = {}{}{}{}, on {} {}: {}{}", c.use_dora ? "DoRA" : "LoRA", c.r,
                                  c.lora_alpha, c.lora_dropout > 0 ? fmt::format(", dropout {}", c.lora_dropout) : "",
                                  c.use_rslora ? ", rsLoRA" : "", recipes::beginning(c), report.adapted_modules,
                                  report.adapted_kind, recipes::joined(c.target_modules), report.also_trained));
  } else {
    rows.emplace_back("method", report.trained);
  }
  rows.emplace_back("trainable", fmt::format("trainable parameters = {} of {} ({:.3f} %)",
                                             core::format_count(report.trainable_parameters),
                                             core::format_count(report.all_parameters()), report.trainable_percent()));
  rows.emplace_back("result", fmt::format("{} on disk ({:.2f} % of the base)", core::format_bytes(report.result_bytes),
                                          report.base_bytes == 0 ? 100.0
                                                                 : 100.0 * static_cast<double>(report.result_bytes) /
                                                                       static_cast<double>(report.base_bytes)));
  rows.emplace_back("validation", report.validation_how);
  rows.insert(rows.end(), report.remarks.begin(), report.remarks.end());
  rows.emplace_back("plan",
                    core::counted(report.steps, "step") +
                        (report.planned_tokens > 0 ? ", " + core::counted(report.planned_tokens, report.unit) : ""));
  rows.emplace_back("recompute", report.recompute);
  if (report.memory) rows.emplace_back("memory", report.memory->words());
  rows.emplace_back("machine", fmt::format("LibTorch {}, {}, {}", report.environment["libtorch"].get<std::string>(),
                                           report.environment["cpu_capability"].get<std::string>(),
                                           core::counted(report.environment["threads"].get<int>(), "thread")));
  std::string text = fields(rows) + "\n";
  std::vector<std::vector<std::string>> data_rows;
  if (report.unit == "token") {
    for (const DataUsed& used : report.data) data_rows.push_back(data_row(used));
    text += data_table({"data", "format", "documents", "examples", "tokens", "masked", "truncated", "empty", "duplicates"},
                       std::move(data_rows));
  } else {
    for (const DataUsed& used : report.data)
      data_rows.push_back({used.name, used.report.format, core::format_count(used.report.examples)});
    text += table({"data", "format", report.unit + "s"}, data_rows);
  }
  for (const DataUsed& used : report.data) {
    const data::ReadReport& r = used.report;
    if (r.bom_files + r.crlf_files > 0) {
      text += fmt::format("{}: {} with a byte order mark (dropped), {} with CRLF or CR line ends (made LF)\n",
                          used.name, core::counted(r.bom_files, "file"), r.crlf_files);
    }
    if (r.replaced_bytes > 0)
      text += fmt::format("{}: {} replaced with U+FFFD\n", used.name, core::counted(r.replaced_bytes, "invalid UTF-8 byte"));
    for (const std::string& note : r.notes) text += core::visible_line(used.name + ": " + note) + "\n";
  }
  if (report.unit == "token" && report.shown_metrics.empty()) {
    text += "loss: mean of -ln(probability) a token, in nats; perplexity: e to that; smaller is better\n";
    for (const DataUsed& used : report.data) {
      if (used.name == "general")
        text += "general: text of other kinds (--general-data); where its loss rises, the model forgets\n";
    }
  }
  console.text(text + "\n");
  if (report.steps < 50) {
    const auto asked = report.options.find("max-steps");
    const bool limited = asked != report.options.end() && asked->is_number() && asked->get<std::int64_t>() == report.steps;
    console.warning(fmt::format("only {}: a run this short learns little; {}{}",
                                core::counted(report.steps, "optimiser step"),
                                limited ? "raise --max-steps"
                                        : "lower --batch-size or --grad-accum, raise --epochs, or give more data",
                                report.lr_auto ? "; --lr auto finds a rate for it" : ""));
  }
}

void print_closing(const Console& console, const RunReport& report, const train::TrainResult& result,
                   const std::filesystem::path& out) {
  std::string text = fmt::format(
      "\n{} after {}, {}, {} ({} {}s/s)\n", recipes::stop_name(result), core::counted(result.steps, "step"),
      core::counted(result.tokens, report.unit), core::format_seconds(result.seconds),
      core::format_count(result.seconds > 0 ? std::llround(static_cast<double>(result.tokens) / result.seconds) : 0),
      report.unit);
  if (result.best_loss) {
    text += fmt::format("best step {} (validation loss {:.4f}); the {} at the top of the folder is {}\n",
                        result.best_step, *result.best_loss, report.adapter ? "adapter" : "model",
                        result.top_is_best ? "the best" : "the last");
  }
  if (report.options.contains("l1") && report.options["l1"].get<double>() > 0) {
    text += fmt::format("{:.1f} % of the parameters that --l1 acts on are exactly zero\n", 100.0 * result.exact_zeros);
  }
  const auto [header, rows] = recipes::result_table(report, result);
  if (!rows.empty()) text += "\n" + table(header, rows);
  if (!report.findings_text.empty()) text += "\n" + report.findings_text;
  console.text(text + "\n");
  console.line(fmt::format("{}: {} ({}), run.json, metrics.jsonl, report.html, checkpoints/", out.string(),
                           report.adapter ? "adapter_model.safetensors, adapter_config.json, README.md"
                                          : "a model folder",
                           core::format_bytes(report.result_bytes)));
  if (report.verdict) console.text("\n" + fields(report.verdict->rows()));
  console.line();
}

}  // namespace lowrank::apps
