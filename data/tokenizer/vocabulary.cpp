#include "lowrank/data/tokenizer/vocabulary.h"

#include <algorithm>
#include <cstring>
#include <functional>

namespace lowrank::data {

namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 18;

}  // namespace

bool Vocabulary::add(std::string_view token, TokenId id) {
  const auto place = static_cast<std::size_t>(id);
  if (place < tokens_.size() && tokens_[place].data != nullptr) return false;
  if (3 * (count_ + 1) > 2 * slots_.size()) grow();
  TokenId& slot = slots_[slot_of(token)];
  if (slot >= 0) return false;
  slot = id;
  if (place >= tokens_.size()) tokens_.resize(place + 1);
  tokens_[place] = {keep(token), static_cast<std::uint32_t>(token.size())};
  ++count_;
  return true;
}

std::optional<TokenId> Vocabulary::find(std::string_view token) const {
  if (slots_.empty()) return std::nullopt;
  const TokenId id = slots_[slot_of(token)];
  if (id < 0) return std::nullopt;
  return id;
}

std::optional<std::string_view> Vocabulary::token(TokenId id) const {
  if (id < 0 || id >= size() || tokens_[static_cast<std::size_t>(id)].data == nullptr) return std::nullopt;
  return text(id);
}

// Where the token is, or the free slot where it would be.
std::size_t Vocabulary::slot_of(std::string_view token) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = std::hash<std::string_view>()(token) & mask;
  while (slots_[at] >= 0 && text(slots_[at]) != token) at = (at + 1) & mask;
  return at;
}

const char* Vocabulary::keep(std::string_view token) {
  if (block_used_ + token.size() + 1 > block_size_) {
    block_size_ = std::max(kBlockBytes, token.size() + 1);
    block_used_ = 0;
    blocks_.push_back(std::make_unique_for_overwrite<char[]>(block_size_));
  }
  char* out = blocks_.back().get() + block_used_;
  if (!token.empty()) std::memcpy(out, token.data(), token.size());
  block_used_ += std::max<std::size_t>(token.size(), 1);
  return out;
}

void Vocabulary::grow() {
  slots_.assign(std::max<std::size_t>(1024, 2 * slots_.size()), -1);
  for (TokenId id = 0; id < size(); ++id) {
    if (tokens_[static_cast<std::size_t>(id)].data != nullptr) slots_[slot_of(text(id))] = id;
  }
}

}  // namespace lowrank::data
