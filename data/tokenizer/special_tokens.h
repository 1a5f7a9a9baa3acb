// What stands beside a tokenizer in a model folder: which tokens are special, and switches of the old tokenizers.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/data/tokenizer/added_tokens.h"

namespace lowrank::data {

struct SpecialTokens {
  /// bos_token and so on. `said`: the files mention it, if only to say that there is none.
  struct Named {
    bool said = false;
    std::optional<AddedToken> token;
    std::optional<TokenId> config_id;  // config.json's bos_token_id
  };
  Named bos, eos, pad, unk;
  std::vector<AddedToken> added;  // added_tokens_decoder or added_tokens.json, with ids
  std::vector<AddedToken> extra;  // that have names of their own (cls, sep, mask, a model's image_token); without ids
  std::vector<AddedToken> listed; // extra_special_tokens as a list, additional_special_tokens; without ids
  std::optional<bool> add_bos, add_eos, legacy, add_prefix_space;
  bool split = false;           // split_special_tokens: those in a text are text
  std::string tokenizer_class;  // without "Fast" at its end
  std::optional<std::string> pattern;  // pat_str: the regular expression of a tiktoken file
  bool has_chat_template = false;
  std::vector<std::filesystem::path> files;  // those that exist
};

/// tokenizer_config.json, special_tokens_map.json (where the former has no added_tokens_decoder), added_tokens.json,
/// chat_template.jinja, chat_template.json; each may be missing. FormatError when one of them cannot be right.
SpecialTokens read_special_tokens(const std::filesystem::path& directory);

}  // namespace lowrank::data
