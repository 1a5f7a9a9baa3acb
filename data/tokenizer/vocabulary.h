// Tokens and their ids.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::data {

/// Ids above this are taken for a damaged file: tables are as long as the largest id.
inline constexpr TokenId kMaxTokenId = (1 << 22) - 1;

class Vocabulary {
 public:
  /// False when the id or the token is already there.
  bool add(std::string_view token, TokenId id);

  std::optional<TokenId> find(std::string_view token) const;
  /// The token's text, or nothing for an id that has none.
  const std::string* token(TokenId id) const;
  std::size_t count() const { return ids_.size(); }
  /// One more than the largest id.
  TokenId size() const { return static_cast<TokenId>(index_.size()); }

 private:
  std::deque<std::string> tokens_;  // stable addresses for the keys below
  std::unordered_map<std::string_view, TokenId> ids_;
  std::vector<std::int32_t> index_;  // id -> place in tokens_, or -1
};

}  // namespace lowrank::data
