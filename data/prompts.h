// Prompts to be answered by a model that is rewarded for its answers.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/data/dataset.h"

namespace lowrank::data {

struct Prompt {
  std::vector<TokenId> ids;  // BOS if the tokenizer adds one, text
  std::string text, where;
  std::optional<std::string> answer;  // what is expected, where the row says
};

struct Prompts {
  std::vector<Prompt> prompts;  // in file order
  ReadReport report;
};

/// Reads .txt and .md files (a prompt a line, blank lines passed over) and rows of .jsonl and .json: {"prompt"} and, if
/// there, "answer"; {"question", "answer"} with a newline after the question; conversations ("messages" and its other
/// names, or "prompt" as a list of turns), an answer at their end left off, laid out by `chat` (null: chat_layout_of()
/// the tokenizer) up to where the next answer begins. Where the layout has a template, so is a question. Prompts of
/// more than `longest` tokens are dropped and counted as truncated. Throws as `load` does; DataError when no prompt is
/// left.
Prompts load_prompts(const std::vector<std::filesystem::path>& paths, const Tokenizer& tokenizer, std::int64_t longest,
                     std::shared_ptr<const ChatLayout> chat = nullptr, const FileOptions& files = {});

/// A share of the prompts, chosen by the seed, taken out of `all`: ⌈fraction·n⌉, at least one is left on both sides.
Prompts hold_out(Prompts& all, double fraction, std::uint64_t seed);

}  // namespace lowrank::data
