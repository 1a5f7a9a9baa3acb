// Tokens and their ids.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::data {

/// Ids above this are taken for a damaged file: tables are as long as the largest id.
inline constexpr TokenId kMaxTokenId = (1 << 22) - 1;

/// About 25 bytes a token beside its text.
class Vocabulary {
 public:
  /// False when the id or the token is already there.
  bool add(std::string_view token, TokenId id);

  std::optional<TokenId> find(std::string_view token) const;
  /// The token's text, or nothing for an id that has none.
  std::optional<std::string_view> token(TokenId id) const;
  std::size_t count() const { return count_; }
  /// One more than the largest id.
  TokenId size() const { return static_cast<TokenId>(tokens_.size()); }

 private:
  struct Text {
    const char* data = nullptr;  // null: no token has this id
    std::uint32_t size = 0;
  };
  std::string_view text(TokenId id) const {
    const Text& t = tokens_[static_cast<std::size_t>(id)];
    return {t.data, t.size};
  }
  std::size_t slot_of(std::string_view token) const;
  const char* keep(std::string_view token);
  void grow();

  std::vector<std::unique_ptr<char[]>> blocks_;  // the texts, one behind the other
  std::size_t block_used_ = 0, block_size_ = 0;  // of the last one
  std::vector<Text> tokens_;                     // by id
  std::vector<TokenId> slots_;                   // open addressing by text; -1 is free
  std::size_t count_ = 0;
};

}  // namespace lowrank::data
