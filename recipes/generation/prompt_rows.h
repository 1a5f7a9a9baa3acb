// Files of prompts, and the files of their answers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/row_map.h"
#include "lowrank/models/generate.h"

namespace lowrank::recipes {

/// One row of a file of prompts.
struct PromptRow {
  core::Json row;       // as it was read; {"prompt"} of a line of text
  std::string prompt;   // its text, or of {"question"} and {"instruction", "input"} the bare text; empty for a conversation
  bool turns = false;   // a conversation: `row` has its turns, of which the next is asked for
  std::string adapter;  // the name at "adapter", empty without one
  std::string where;    // "prompts.jsonl line 3"
  std::optional<core::Json> mapped = std::nullopt;  // the row with the columns of a map
  const core::Json& asked() const { return mapped ? *mapped : row; }
};

/// The rows of a file of rows with the columns that `map` adds (null: none), or the lines of a text that are not blank.
/// `notes`: what should be said of them. DataError with the line: a row with neither turns (under "messages" and
/// its other names, or "prompt") nor a text as "prompt", "question" or "instruction", a key of ours in it, bytes that are not UTF-8; MissingError.
std::vector<PromptRow> read_prompts(const std::filesystem::path& input, const data::RowMap* map = nullptr,
                                    std::vector<std::string>* notes = nullptr);

/// The row with its answer: its own keys, then "generated", "finish" and, where `scored`, "score".
core::Json answer_row(const PromptRow& row, const std::string& text, const models::Generated& generated, bool scored);

/// What an output file holds of the answers to `rows`.
struct Answered {
  std::size_t rows = 0;    // whole rows: the answers to the first so many prompts
  std::int64_t bytes = 0;  // of these
};

/// Reads an output that an earlier call left, perhaps with half a row at its end. DataError when a row is not the
/// answer to the prompt at its place, or there are more than prompts.
Answered read_answered(const std::filesystem::path& output, const std::vector<PromptRow>& rows);

}  // namespace lowrank::recipes
