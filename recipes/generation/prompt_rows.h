// Files of prompts, and the files of their answers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/models/generate.h"

namespace lowrank::recipes {

/// One row of a file of prompts.
struct PromptRow {
  core::Json row;       // as it was read; {"prompt"} of a line of text
  std::string prompt;   // its text
  std::string adapter;  // the name at "adapter", empty without one
  std::string where;    // "prompts.jsonl line 3"
};

/// The rows of a .jsonl or .json file, or the lines of a .txt or .md file that are not blank. DataError with the line:
/// a row without a text "prompt", a key of ours in it, bytes that are not UTF-8; MissingError.
std::vector<PromptRow> read_prompts(const std::filesystem::path& input);

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
