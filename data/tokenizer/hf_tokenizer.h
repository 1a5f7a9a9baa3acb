// tokenizer.json, as PyPI tokenizers writes and reads it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <unordered_map>

#include "lowrank/data/tokenizer/added_tokens.h"
#include "lowrank/data/tokenizer/decoder.h"
#include "lowrank/data/tokenizer/normalizer.h"
#include "lowrank/data/tokenizer/piece_cache.h"
#include "lowrank/data/tokenizer/post_processor.h"
#include "lowrank/data/tokenizer/pre_tokenizer.h"
#include "lowrank/data/tokenizer/special_tokens.h"
#include "lowrank/data/tokenizer/token_model.h"
#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::data {

/// Does what the file says. (transformers 5 rebuilds some tokenizers from their class name instead, and then gives
/// other ids than the model was trained with where the two differ, e.g. Llama texts that begin with a space. Of such classes what
/// tokenizer_config.json says itself counts here too: prefix_space.h.)
class HfTokenizer : public Tokenizer {
 public:
  /// From tokenizer.json; FormatError when it cannot be right.
  static std::shared_ptr<HfTokenizer> read(const std::filesystem::path& file, const SpecialTokens& special);
  /// From its document; `model` instead of the document's own.
  HfTokenizer(const core::Json& json, const std::string& where, const SpecialTokens& special,
              std::unique_ptr<const TokenModel> model = nullptr);

  std::vector<TokenId> encode(std::string_view text, bool add_special_tokens) const override;
  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const override;
  std::optional<TokenId> token_to_id(std::string_view token) const override;
  std::string id_to_token(TokenId id) const override;
  bool is_special(TokenId id) const override;
  bool is_byte(TokenId id) const override;
  TokenId size() const override;

 private:
  void add_tokens_of(const core::JsonView& json);
  void add_tokens_of(const SpecialTokens& special);
  void add_token(AddedToken token, const std::string& where);
  void build_splitters();
  void name_special_tokens(const SpecialTokens& special);
  NormalizedText normalized(std::string_view text) const;
  void encode_segment(std::string text, bool at_start, std::vector<TokenId>& ids) const;
  void encode_piece(std::string_view piece, std::vector<TokenId>& ids) const;
  std::optional<std::string_view> token(TokenId id) const;

  std::unique_ptr<const Normalizer> normalizer_;
  std::unique_ptr<const PreTokenizer> pre_tokenizer_;
  std::unique_ptr<const Decoder> decoder_;
  std::unique_ptr<const TokenModel> model_;
  mutable PieceCache cache_;  // as old as the tokenizer
  Template template_;
  std::vector<AddedToken> added_;                             // in the order they were added
  std::unordered_map<std::string, std::size_t> added_place_;  // content -> place in added_
  std::unordered_map<TokenId, std::size_t> added_by_id_;
  TokenId next_id_ = 0;
  AddedTokenSplitter raw_splitter_, normalized_splitter_;
};

}  // namespace lowrank::data
