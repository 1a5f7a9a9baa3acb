// Tokens that are added to a model's tokenizer.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::data {

struct NewToken {
  std::string content;
  std::string from;      // its row begins as the mean of this text's; empty: as the mean of all rows
  bool special = false;  // left out when text is decoded without special tokens
};

/// A file of tokens: one a line, with the text that it begins from behind a tab ("<|user|>\tuser"); or JSON, a list of
/// strings and of objects {"content", "from", "special"}. DataError, with the line or place, for an empty or repeated
/// token, and for a file without any.
std::vector<NewToken> read_new_tokens(const std::filesystem::path& file);

/// A tokenizer with further tokens, and where each lies.
struct ExtendedTokenizer {
  std::shared_ptr<const Tokenizer> tokenizer;  // its files lie in a folder of their own, as long as `folder` lives
  struct Place {
    TokenId id = 0;
    bool known = false;           // the tokenizer had it already
    std::vector<TokenId> begins;  // the tokens whose mean its row begins as; none: all
  };
  std::vector<Place> places;  // in the order of the tokens
  std::shared_ptr<const void> folder;
};

/// The tokenizer of a model's folder with these tokens behind its own; one that it has already keeps its id. The files
/// are tokenizer.json and tokenizer_config.json with the tokens entered, and the others as they are. FormatError for a
/// folder without tokenizer.json.
ExtendedTokenizer with_new_tokens(const std::filesystem::path& folder, const std::vector<NewToken>& tokens);

}  // namespace lowrank::data
