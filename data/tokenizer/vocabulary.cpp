#include "lowrank/data/tokenizer/vocabulary.h"

namespace lowrank::data {

bool Vocabulary::add(std::string_view token, TokenId id) {
  const auto place = static_cast<std::size_t>(id);
  if (ids_.contains(token) || (place < index_.size() && index_[place] >= 0)) return false;
  if (place >= index_.size()) index_.resize(place + 1, -1);
  index_[place] = static_cast<std::int32_t>(tokens_.size());
  ids_.emplace(tokens_.emplace_back(token), id);
  return true;
}

std::optional<TokenId> Vocabulary::find(std::string_view token) const {
  const auto it = ids_.find(token);
  if (it == ids_.end()) return std::nullopt;
  return it->second;
}

const std::string* Vocabulary::token(TokenId id) const {
  if (id < 0 || id >= size() || index_[static_cast<std::size_t>(id)] < 0) return nullptr;
  return &tokens_[static_cast<std::size_t>(index_[static_cast<std::size_t>(id)])];
}

}  // namespace lowrank::data
