// Byte-pair encoding as PyPI tokenizers' BPE model does it, over the characters of a piece of text.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/tokenizer/merge_table.h"
#include "lowrank/data/tokenizer/vocabulary.h"

namespace lowrank::data {

class Bpe {
 public:
  /// From tokenizer.json's "model". FormatError for another type, and for a vocabulary or merges that cannot be.
  explicit Bpe(const core::JsonView& model);

  const Vocabulary& vocabulary() const { return vocabulary_; }
  std::optional<TokenId> unk() const { return unk_; }
  bool byte_fallback() const { return byte_fallback_; }

  /// What encode() needs beside the model: buffers, and the pieces it has met (words repeat). One for each call chain.
  class Workspace {
   private:
    friend class Bpe;
    struct Symbol {
      TokenId id;
      std::int32_t previous, next;
      bool alive;
    };
    struct Candidate {  // a merge that was possible when it was queued
      std::int32_t rank, position;
      TokenId merged;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
    std::unordered_map<std::string, std::vector<TokenId>> known;
  };

  /// Appends the ids of one piece. O(n log n) in its length.
  void encode(std::string_view piece, Workspace& workspace, std::vector<TokenId>& ids) const;

 private:
  void read_vocabulary(const core::JsonView& vocab);
  void read_merges(const core::JsonView& merges);
  void read_byte_tokens(const core::JsonView& model);
  TokenId id_of(char32_t c, std::string_view text) const;
  void fill(std::string_view piece, Workspace& workspace) const;
  void merge(Workspace& workspace) const;
  void propose(Workspace& workspace, std::int32_t left, std::int32_t right) const;

  Vocabulary vocabulary_;
  MergeTable merges_;
  std::vector<TokenId> character_ids_;  // of characters below U+10000, -1 where the vocabulary has none
  std::array<TokenId, 256> byte_ids_{};
  std::optional<TokenId> unk_;
  bool byte_fallback_ = false, fuse_unk_ = false, ignore_merges_ = false;
};

}  // namespace lowrank::data
