// (left id, right id) -> (rank, merged id), the hot look-up of byte-pair encoding: open addressing, no deletion.
#pragma once

#include <cstdint>
#include <vector>

#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::data {

struct Merge {
  std::int32_t rank = -1;
  TokenId merged = -1;
};

class MergeTable {
 public:
  explicit MergeTable(std::size_t expected = 0) : slots_(expected + expected / 2 + 2) {}

  /// A pair that is there already is replaced. At most `expected` pairs.
  void set(TokenId left, TokenId right, Merge merge) {
    Slot& slot = slots_[place(key(left, right))];
    slot = {key(left, right), merge};
  }
  const Merge* find(TokenId left, TokenId right) const {
    const Slot& slot = slots_[place(key(left, right))];
    return slot.merge.rank < 0 ? nullptr : &slot.merge;
  }

 private:
  struct Slot {
    std::uint64_t key = 0;
    Merge merge;
  };
  static std::uint64_t key(TokenId left, TokenId right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
  }
  std::size_t place(std::uint64_t k) const {
    std::uint64_t h = k * 0x9E3779B97F4A7C15ULL;
    h ^= h >> 32;
    std::size_t i = static_cast<std::size_t>((h & 0xFFFFFFFF) * slots_.size() >> 32);
    while (slots_[i].merge.rank >= 0 && slots_[i].key != k) i = i + 1 == slots_.size() ? 0 : i + 1;
    return i;
  }

  std::vector<Slot> slots_;  // a third of them free
};

}  // namespace lowrank::data
