#include "lowrank/recipes/generation/prompt_rows.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <string_view>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"
#include "lowrank/data/line_reader.h"
#include "lowrank/data/row_file.h"
#include "lowrank/data/text_documents.h"

namespace lowrank::recipes {

namespace {

using core::Json;

constexpr std::array<const char*, 3> kOurKeys = {"generated", "finish", "score"};

PromptRow row_of(const core::JsonView& view) {
  if (!view.is_object())
    throw DataError(view.where() + ": expected an object with a \"prompt\", such as {\"prompt\": \"…\"}");
  if (!view.has("prompt")) {
    throw DataError(fmt::format("{}: the row has no \"prompt\"; its keys are {}", view.where(),
                                core::printable(fmt::format("{}", fmt::join(view.keys(), ", ")))));
  }
  if (!view.at("prompt").is_string()) throw DataError(view.where() + ": \"prompt\" is not a text");
  for (const char* key : kOurKeys) {
    if (view.has(key)) {
      throw DataError(
          fmt::format("{}: the row has a key \"{}\", where its answer would go; rename it", view.where(), key));
    }
  }
  if (view.has_value("adapter") && !view.at("adapter").is_string()) {
    throw DataError(view.where() + ": \"adapter\" is not the name of one");
  }
  return {view.raw(), view.at("prompt").as_string(), view.get_string("adapter", ""), view.where()};
}

void read_lines(const std::filesystem::path& file, std::vector<PromptRow>& rows) {
  data::LineReader reader(file);
  for (std::string_view line; reader.next(line);) {
    if (data::is_blank(line)) continue;
    const std::string where = fmt::format("{} line {}", file.string(), reader.line_number());
    if (core::find_invalid_utf8(line) != std::string_view::npos) throw DataError(where + ": is not UTF-8 text");
    const std::string prompt(line);
    rows.push_back({Json{{"prompt", prompt}}, prompt, "", where});
  }
}

}  // namespace

std::vector<PromptRow> read_prompts(const std::filesystem::path& input) {
  std::vector<std::string> notes;
  std::vector<PromptRow> rows;
  for (const data::Source& source : data::find_sources({input}, data::Format::kAuto, notes)) {
    if (source.kind == data::SourceKind::kText) {
      read_lines(source.file, rows);
    } else {
      data::for_each_row(source, [&](const core::JsonView& view, std::uint64_t) { rows.push_back(row_of(view)); });
    }
  }
  if (rows.empty()) throw DataError(input.string() + " holds no prompts");
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
