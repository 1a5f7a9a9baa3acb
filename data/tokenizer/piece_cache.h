// The ids of pieces that were tokenised before: words repeat.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::data {

/// Any number of threads may find and add at once; who finds waits for nobody. It never forgets and never grows beyond its
/// bounds: when it is full, what it has stays.
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

  void* room_for(std::size_t bytes);

  std::unique_ptr<std::atomic<const Entry*>[]> slots_;  // open addressing; a slot is written once
  std::atomic<std::size_t> count_{0};
  // Entries lie one behind the other as they come, so that those of the most frequent pieces, which come first, are near
  // each other.
  std::mutex mutex_;
  std::vector<std::unique_ptr<std::byte[]>> blocks_;
  std::size_t left_ = 0;  // bytes of the last block
};

}  // namespace lowrank::data
