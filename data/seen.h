// Which numbers were there before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace lowrank::data {

/// A set of hashes, 11 to 22 bytes each: a data set has millions.
class Seen {
 public:
  /// Makes room for so many.
  void reserve(std::size_t count) {
    while (4 * (count + 1) > 3 * slots_.size()) grow();
  }

  /// False where it was there.
  bool add(std::uint64_t hash) {
    if (hash == 0) return !std::exchange(zero_, true);
    if (4 * (count_ + 1) > 3 * slots_.size()) grow();
    std::uint64_t& slot = slots_[place_of(hash)];
    if (slot == hash) return false;
    slot = hash;
    ++count_;
    return true;
  }

  bool contains(std::uint64_t hash) const {
    if (hash == 0) return zero_;
    return !slots_.empty() && slots_[place_of(hash)] == hash;
  }

  /// Says that this hash is asked for next: of millions the memory is far away, and several come at a time.
  void expect(std::uint64_t hash) const {
    if (!slots_.empty()) __builtin_prefetch(&slots_[first_place(hash)]);
  }

 private:
  std::size_t first_place(std::uint64_t hash) const { return (hash * 0x9E3779B97F4A7C15U) >> shift_; }
  /// Where it is, or would be.
  std::size_t place_of(std::uint64_t hash) const {
    std::size_t i = first_place(hash);
    while (slots_[i] != 0 && slots_[i] != hash) i = (i + 1) & (slots_.size() - 1);
    return i;
  }
  void grow() {
    std::vector<std::uint64_t> before(slots_.empty() ? 64 : 2 * slots_.size());
    before.swap(slots_);
    shift_ = before.empty() ? 58 : shift_ - 1;
    for (const std::uint64_t hash : before) {
      if (hash != 0) slots_[place_of(hash)] = hash;
    }
  }

  std::vector<std::uint64_t> slots_;  // a power of two; 0: free
  std::size_t count_ = 0;
  int shift_ = 58;  // 64 less the bits of a slot's index
  bool zero_ = false;
};

}  // namespace lowrank::data
