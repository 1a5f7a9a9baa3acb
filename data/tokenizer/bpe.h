// Byte-pair encoding as PyPI tokenizers' BPE model does it, over the characters of a piece of text.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/tokenizer/merge_table.h"
#include "lowrank/data/tokenizer/token_model.h"

namespace lowrank::data {

class Bpe : public TokenModel {
 public:
  Bpe(const core::JsonView& model, ModelTables tables);
  /// tiktoken's: any two neighbours that together are a token may merge, the token of lowest rank (its place in
  /// `tokens`, byte strings) first. Ids are ranks, behind those of `special`. FormatError naming `where`: a token that
  /// is empty, there twice, or a byte that is none.
  Bpe(const std::vector<std::string>& tokens, const std::vector<std::string>& special, const std::string& where);

  /// O(n log n) in the piece's length.
  void encode(std::string_view piece, std::vector<TokenId>& ids) const override;

  /// A word: up to the next ▁ behind another character, where no merge reaches over such a place (SentencePiece's vocabularies).
  std::size_t part_end(std::string_view piece, std::size_t from) const override;

 private:
  struct Symbol {
    TokenId id;
    std::int32_t previous, next;
    bool alive;
  };
  struct Candidate {  // a merge that was possible when it was queued
    std::int32_t rank, position;
    TokenId merged;
  };
  struct Workspace {
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };
  void index_characters();
  void read_merges(const ModelTables& tables);
  void read_byte_tokens(const core::JsonView& model);
  TokenId id_of(char32_t c, std::string_view text) const;
  void fill(std::string_view piece, Workspace& workspace) const;
  void merge(Workspace& workspace) const;
  void propose(Workspace& workspace, std::int32_t left, std::int32_t right) const;

  MergeTable merges_;
  std::vector<TokenId> character_ids_;  // of characters below U+10000, -1 where the vocabulary has none
  std::array<TokenId, 256> byte_ids_{};
  std::string prefix_, suffix_;  // of characters that are not a piece's first, that are its last
  bool byte_fallback_ = false, fuse_unk_ = false, ignore_merges_ = false;
  bool words_ = false;  // no merge reaches over the beginning of a word
};

}  // namespace lowrank::data
