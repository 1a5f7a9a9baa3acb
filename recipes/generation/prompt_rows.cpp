#include "lowrank/recipes/generation/prompt_rows.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <string_view>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"
#include "lowrank/data/asked.h"
#include "lowrank/data/chat/turns.h"
#include "lowrank/data/line_reader.h"
#include "lowrank/data/row_file.h"
#include "lowrank/data/text_documents.h"

namespace lowrank::recipes {

namespace {

using core::Json;

constexpr std::array<const char*, 3> kOurKeys = {"generated", "finish", "score"};

/// What is counted of the rows beside the prompts.
struct Reading {
  std::size_t with_faults = 0;
  std::string first_fault;  // where
  std::int64_t blank = 0;   // lines
  std::string first_blank;  // where
};

PromptRow row_of(const core::JsonView& view, Reading& reading) {
  if (!view.is_object())
    throw DataError(view.where() + ": expected an object with a \"prompt\", such as {\"prompt\": \"…\"}");
  const bool turns = data::turns_key(view) != nullptr;
  const char* const key = data::prompt_key(view);
  if (!turns && key == nullptr) {
    throw DataError(fmt::format("{}: the row has no \"prompt\", \"question\", \"instruction\" or \"messages\"; its keys "
                                "are {}; name columns of other names with `columns`",
                                view.where(), core::printable(fmt::format("{}", fmt::join(view.keys(), ", ")))));
  }
  std::string prompt;
  if (!turns) {
    for (const char* text : {key, std::string_view(key) == "instruction" ? "input" : key}) {
      if (view.has_value(text) && !view.at(text).is_string())
        throw DataError(fmt::format("{}: \"{}\" is not a text", view.where(), text));
    }
    prompt = view.at(key).as_string();
    const std::string input = std::string_view(key) == "instruction" ? view.get_string("input", "") : "";
    if (!input.empty()) prompt += "\n" + input;
  }
  for (const char* ours : kOurKeys) {
    if (view.has(ours)) {
      throw DataError(
          fmt::format("{}: the row has a key \"{}\", where its answer would go; rename it", view.where(), ours));
    }
  }
  if (view.has_value("adapter") && !view.at("adapter").is_string()) {
    throw DataError(view.where() + ": \"adapter\" is not the name of one");
  }
  bool faults = false;
  Json carried = data::without_faults(view.raw(), faults);
  if (faults) {
    ++reading.with_faults;
    if (reading.first_fault.empty()) reading.first_fault = view.where();
  }
  return {std::move(carried), std::move(prompt), turns, view.get_string("adapter", ""), view.where()};
}

void read_lines(const core::FileRef& file, std::vector<PromptRow>& rows, Reading& reading) {
  data::LineReader reader(file);
  for (std::string_view line; reader.next(line);) {
    const std::string where = fmt::format("{} line {}", reader.name(), reader.line_number());
    if (data::is_blank(line)) {
      if (++reading.blank == 1) reading.first_blank = where;
      continue;
    }
    if (core::find_invalid_utf8(line) != std::string_view::npos) throw DataError(where + ": is not UTF-8 text");
    const std::string prompt(line);
    rows.push_back({Json{{"prompt", prompt}}, prompt, false, "", where});
  }
}

}  // namespace

std::vector<PromptRow> read_prompts(const std::filesystem::path& input, const data::RowMap* map,
                                    std::vector<std::string>* notes) {
  std::vector<std::string> said;
  std::vector<PromptRow> rows;
  Reading reading;
  for (const data::Source& source : data::find_sources({input}, data::Format::kAuto, said, {data::Part::kTest})) {
    if (source.kind == data::SourceKind::kText) {
      read_lines(source.file, rows, reading);
      continue;
    }
    const data::RowFileFacts facts = data::for_each_row(source, [&](const core::JsonView& view, std::uint64_t) {
      if (map == nullptr) {
        rows.push_back(row_of(view, reading));
        return;
      }
      const Json row = data::with_columns(map, view);
      PromptRow mapped = row_of({row, view.where()}, reading);
      mapped.mapped = std::move(mapped.row);
      bool faults = false;
      mapped.row = data::without_faults(view.raw(), faults);  // what is carried through is the row as it came
      rows.push_back(std::move(mapped));
    });
    said.insert(said.end(), facts.notes.begin(), facts.notes.end());
  }
  if (rows.empty()) throw DataError(input.string() + " holds no prompts");
  if (reading.blank > 0) {
    said.push_back(fmt::format("{} passed over, without an answer in the output (the first: {})",
                               reading.blank == 1 ? "1 blank line is" : core::format_count(reading.blank) + " blank lines are", reading.first_blank));
  }
  if (reading.with_faults > 0) {
    said.push_back(fmt::format("NaN or broken text beside the prompt is written as null in {} (the first: {})",
                               core::counted(static_cast<std::int64_t>(reading.with_faults), "row"), reading.first_fault));
  }
  if (notes != nullptr) *notes = std::move(said);
  return rows;
}

Json answer_row(const PromptRow& row, const std::string& text, const models::Generated& generated, bool scored) {
  Json answer = row.row;
  answer["generated"] = core::replace_invalid_utf8(text);
  answer["finish"] = generated.finish;
  if (scored) answer["score"] = generated.score;
  return answer;
}

Answered read_answered(const std::filesystem::path& output, const std::vector<PromptRow>& rows) {
  const std::string text = core::read_file(output);
  Answered answered;
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const std::string where = fmt::format("{} line {}", output.string(), answered.rows + 1);
    if (answered.rows == rows.size()) {
      throw DataError(
          fmt::format("{}: more answers than the {} prompts; it belongs to another `input` (`overwrite` starts anew)",
                      where, rows.size()));
    }
    Json row = data::parse_row(std::string_view(text).substr(begin, end - begin), where);
    const bool ours = row.is_object() && row.contains("generated");
    for (const char* key : kOurKeys) {
      if (row.is_object()) row.erase(key);
    }
    if (!ours || row != rows[answered.rows].row) {
      throw DataError(
          fmt::format("{}: is not the answer to {}; it belongs to another `input` (`overwrite` starts anew)", where,
                      rows[answered.rows].where));
    }
    ++answered.rows;
    answered.bytes = static_cast<std::int64_t>(end + 1);
  }
  return answered;
}

}  // namespace lowrank::recipes
