// A tokenizer whose ids are letters: id 3 is 'D', 2 ends a text.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank_test {

class LetterTokenizer : public lowrank::data::Tokenizer {
 public:
  LetterTokenizer() { eos_ = 2; }
  std::vector<lowrank::data::TokenId> encode(std::string_view text, bool) const override {
    std::vector<lowrank::data::TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<lowrank::data::TokenId>(c - 'A'));
    return ids;
  }
  std::string decode(std::span<const lowrank::data::TokenId> ids, bool) const override {
    std::string text;
    for (const lowrank::data::TokenId id : ids) text += id_to_token(id);
    return text;
  }
  std::optional<lowrank::data::TokenId> token_to_id(std::string_view) const override { return std::nullopt; }
  std::string id_to_token(lowrank::data::TokenId id) const override {
    return std::string(1, static_cast<char>('A' + id % 58));
  }
  bool is_special(lowrank::data::TokenId id) const override { return id < 3; }
  lowrank::data::TokenId size() const override { return 97; }
};

}  // namespace lowrank_test
