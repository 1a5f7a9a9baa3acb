// A SentencePiece tokenizer.model, through the sentencepiece library.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "lowrank/data/tokenizer/added_tokens.h"
#include "lowrank/data/tokenizer/decoder.h"
#include "lowrank/data/tokenizer/special_tokens.h"
#include "lowrank/data/tokenizer/tokenizer.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace lowrank::data {

/// As LlamaTokenizer: control and user-defined pieces in a text are tokens; the text between them goes through the
/// library, with the model's space before it everywhere (legacy) or only at the very begin (legacy false, the default).
class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(const std::string& model_bytes, const std::string& where, const SpecialTokens& special);
  ~SentencePieceTokenizer() override;

  std::vector<TokenId> encode(std::string_view text, bool add_special_tokens) const override;
  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const override;
  std::optional<TokenId> token_to_id(std::string_view token) const override;
  std::string id_to_token(TokenId id) const override;
  bool is_special(TokenId id) const override;
  bool is_byte(TokenId id) const override;
  TokenId size() const override;

 private:
  struct Entry {
    std::string text;
    bool special = false;
    bool added = false;
  };
  void add_token(AddedToken token, bool special, const std::string& where);

  std::unique_ptr<sentencepiece::SentencePieceProcessor> with_prefix_, without_prefix_;
  bool prefix_ = true, prefix_everywhere_ = false;
  std::vector<Entry> entries_;  // by id
  std::unordered_map<std::string, TokenId> ids_;
  std::vector<AddedToken> added_;
  AddedTokenSplitter splitter_;
  std::unique_ptr<const Decoder> decoder_;
};

}  // namespace lowrank::data
