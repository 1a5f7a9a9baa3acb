// The ids of pieces that were tokenised before: words repeat.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::data {

/// Any number of threads may find and add at once, without waiting for each other. It never forgets and never grows
/// beyond its bounds: when it is full, what it has stays.
class PieceCache {
 public:
  static constexpr std::size_t kMaxPieces = 1 << 16;
  static constexpr std::size_t kMaxPieceBytes = 128;  // longer ones do not come twice
  static constexpr std::size_t kMaxIds = 64;          // so that all together stay below 30 MB

  PieceCache();
  ~PieceCache();
  PieceCache(const PieceCache&) = delete;
  PieceCache& operator=(const PieceCache&) = delete;

  /// Appends the piece's ids; false when they are not known.
  bool find(std::string_view piece, std::vector<TokenId>& ids) const;
  /// Remembers them, if there is room.
  void add(std::string_view piece, std::span<const TokenId> ids);

 private:
  struct Entry;
  static constexpr std::size_t kSlots = 2 * kMaxPieces;
  std::unique_ptr<std::atomic<const Entry*>[]> slots_;  // open addressing; a slot is written once
  std::atomic<std::size_t> count_{0};
};

}  // namespace lowrank::data
