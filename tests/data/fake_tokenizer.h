// A tokenizer whose ids can be read off the text: bytes + 3, <s> = 1, </s> = 2, and strings of choice as single tokens.
#pragma once

#include <string>
#include <vector>

#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank_test {

using lowrank::data::TokenId;

struct FakeOptions {
  bool bos = true, eos = true;  // has such a token
  bool adds_bos = true, adds_eos = false;
  bool chat_template = false;
  bool prefix_space = false;       // like SentencePiece's dummy prefix, at every call
  std::vector<std::string> words = {};  // tokens of several bytes, tried first
};

class FakeTokenizer : public lowrank::data::Tokenizer {
 public:
  explicit FakeTokenizer(FakeOptions options = {}) : options_(std::move(options)) {
    if (options_.bos) bos_ = 1;
    if (options_.eos) eos_ = 2;
    adds_bos_ = options_.bos && options_.adds_bos;
    adds_eos_ = options_.eos && options_.adds_eos;
    has_chat_template_ = options_.chat_template;
  }

  std::vector<TokenId> encode(std::string_view text, bool add_special_tokens) const override {
    std::vector<TokenId> ids;
    if (add_special_tokens && adds_bos_) ids.push_back(1);
    std::string all(text);
    if (options_.prefix_space && !all.empty()) all.insert(0, 1, ' ');
    for (std::size_t i = 0; i < all.size();) {
      const std::string_view rest = std::string_view(all).substr(i);
      TokenId id = static_cast<unsigned char>(all[i]) + 3;
      std::size_t length = 1;
      for (std::size_t w = 0; w < options_.words.size(); ++w) {
        if (!rest.starts_with(options_.words[w])) continue;
        id = static_cast<TokenId>(259 + w);
        length = options_.words[w].size();
        break;
      }
      if (rest.starts_with("<s>")) id = 1, length = 3;
      if (rest.starts_with("</s>")) id = 2, length = 4;
      ids.push_back(id);
      i += length;
    }
    if (add_special_tokens && adds_eos_) ids.push_back(2);
    return ids;
  }

  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const override {
    std::string text;
    for (const TokenId id : ids) {
      if (!skip_special_tokens || !is_special(id)) text += id_to_token(id);
    }
    return text;
  }

  std::optional<TokenId> token_to_id(std::string_view) const override { return std::nullopt; }
  std::string id_to_token(TokenId id) const override {
    if (id == 1) return "<s>";
    if (id == 2) return "</s>";
    return id < 259 ? std::string(1, static_cast<char>(id - 3)) : options_.words.at(static_cast<std::size_t>(id - 259));
  }
  bool is_special(TokenId id) const override { return id < 3; }
  TokenId size() const override { return static_cast<TokenId>(259 + options_.words.size()); }

 private:
  FakeOptions options_;
};

/// The text of an example's learned tokens, "</s>" written out; the first token is never learned.
inline std::string learned_text(const FakeTokenizer& tokenizer, const std::vector<TokenId>& ids,
                                const std::vector<std::uint8_t>& learned) {
  std::string text;
  for (std::size_t i = 1; i < ids.size(); ++i) {
    if (learned[i] != 0) text += tokenizer.id_to_token(ids[i]);
  }
  return text;
}

}  // namespace lowrank_test
