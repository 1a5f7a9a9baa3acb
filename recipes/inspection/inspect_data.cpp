// Data sets: what the model will see of them.
#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/table.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"
#include "lowrank/core/visible.h"
#include "lowrank/recipes/inspection/inspect.h"
#include "lowrank/recipes/run/run_report.h"

namespace lowrank::recipes {

namespace {

using core::Json;

/// A stretch of an example whose tokens are all learned, or all masked.
struct Stretch {
  bool learned;
  std::string text;
};

/// Text is given to the token that completes its character, so a stretch never shows half of one.
std::vector<Stretch> stretches(const data::Example& example, const data::Tokenizer& tokenizer) {
  std::vector<Stretch> result;
  data::StreamDecoder decoder(tokenizer, /*skip_special_tokens=*/false);
  for (std::size_t i = 0; i < example.ids.size(); ++i) {
    std::string text = decoder.push(example.ids[i]);
    if (i + 1 == example.ids.size()) text += decoder.flush();
    const bool learned = i > 0 && example.learned[i] != 0;
    if (result.empty() || result.back().learned != learned) result.push_back({learned, ""});
    result.back().text += text;
  }
  return result;
}

/// Every line of a text two spaces in: none of them can pass for a line of ours.
std::string indented(std::string text) {
  for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 3) text.insert(at + 1, "  ");
  return "  " + text;
}

std::string ids_text(const data::Example& example, const Marks& marks) {
  std::string text;
  for (std::size_t i = 0; i < example.ids.size(); ++i) {
    const std::string id = std::to_string(example.ids[i]);
    text += (i == 0 ? "" : " ") + (i > 0 && example.learned[i] != 0 ? id : marks.masked_id(id));
  }
  return text;
}

}  // namespace

Inspection inspect_data(const data::Dataset& dataset, const data::Tokenizer& tokenizer, std::int64_t examples,
                        const Marks& marks) {
  const data::ReadReport& report = dataset.report;
  Inspection result;
  result.json = {{"kind", "data"}, {"report", to_json(report)}, {"examples", Json::array()}};
  const double masked_share = report.tokens > 0 ? 100.0 * static_cast<double>(report.tokens - report.learned_tokens) /
                                                      static_cast<double>(report.tokens)
                                                : 0;
  std::vector<std::pair<std::string, std::string>> rows = {
      {"format", report.format},
      {"files", core::format_count(report.files)},
      {"documents", core::format_count(report.documents)},
      {"examples", core::format_count(report.examples)},
      {"tokens", fmt::format("{}, {:.1f} % not learned", core::format_count(report.tokens), masked_share)},
      {"left out", fmt::format("{} cut ({}), {} blank, {} with nothing to learn; {} seen before are kept",
                               core::counted(report.truncated, "row"), core::counted(report.truncated_tokens, "token"),
                               core::format_count(report.empty), core::format_count(report.all_masked),
                               core::format_count(report.duplicates))},
  };
  for (const std::string& note : report.notes) rows.emplace_back("note", note);
  result.text = core::fields(rows) + "\n" + marks.legend + "\n";

  const std::size_t count = std::min(dataset.examples.size(), static_cast<std::size_t>(examples));
  for (std::size_t i = 0; i < count; ++i) {
    const data::Example& example = dataset.examples[i];
    const std::string where = dataset.documents[example.document].where;
    std::string text, plain;
    for (const Stretch& stretch : stretches(example, tokenizer)) {
      text += stretch.learned ? stretch.text : marks.masked(stretch.text);
      plain += stretch.text;
    }
    result.text += fmt::format("\n{}\n{}\n{}\n",
                               marks.title(core::visible_line(fmt::format("example {}: {}, {}, {} learned", i + 1, where,
                                                                         core::counted(static_cast<std::int64_t>(example.ids.size()), "token"), example.counted()))),
                               indented(text), ids_text(example, marks));
    std::vector<int> learned(example.learned.begin(), example.learned.end());
    if (!learned.empty()) learned.front() = 0;  // the first token is not predicted
    result.json["examples"].push_back({{"where", where},
                                       {"ids", example.ids},
                                       {"learned", learned},
                                       {"counted", example.counted()},
                                       {"text", plain}});
  }
  return result;
}

}  // namespace lowrank::recipes
