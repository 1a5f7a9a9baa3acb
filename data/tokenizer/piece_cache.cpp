#include "lowrank/data/tokenizer/piece_cache.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace lowrank::data {

// One block of memory: this, then the ids, then the piece's bytes.
struct PieceCache::Entry {
  std::uint64_t hash;
  std::uint32_t ids, bytes;

  const TokenId* first_id() const { return reinterpret_cast<const TokenId*>(this + 1); }
  const char* text() const { return reinterpret_cast<const char*>(first_id() + ids); }
  bool is(std::uint64_t h, std::string_view piece) const {
    return hash == h && std::string_view(text(), bytes) == piece;
  }

  static std::size_t size_of(std::string_view piece, std::span<const TokenId> ids) {
    const std::size_t size = sizeof(Entry) + ids.size_bytes() + piece.size();
    return (size + alignof(Entry) - 1) / alignof(Entry) * alignof(Entry);
  }
  static const Entry* make(void* block, std::uint64_t hash, std::string_view piece, std::span<const TokenId> ids) {
    auto* entry =
        new (block) Entry{hash, static_cast<std::uint32_t>(ids.size()), static_cast<std::uint32_t>(piece.size())};
    std::copy(ids.begin(), ids.end(), const_cast<TokenId*>(entry->first_id()));  // a piece may have no ids
    std::copy(piece.begin(), piece.end(), const_cast<char*>(entry->text()));
    return entry;
  }
};

namespace {

// Eight bytes at a time; good enough for words, and a full slot is only a step further.
std::uint64_t hash_of(std::string_view text) {
  constexpr std::uint64_t kPrime = 0x9E3779B97F4A7C15ULL;
  std::uint64_t h = text.size() * kPrime;
  std::size_t at = 0;
  for (; at + 8 <= text.size(); at += 8) {
    std::uint64_t word;
    std::memcpy(&word, text.data() + at, 8);
    h = (h ^ word) * kPrime;
    h ^= h >> 32;
  }
  std::uint64_t word = 0;
  if (at < text.size()) std::memcpy(&word, text.data() + at, text.size() - at);
  h = (h ^ word) * kPrime;
  return h ^ (h >> 32);
}

}  // namespace

PieceCache::PieceCache() : slots_(new std::atomic<const Entry*>[kSlots]()) {}

PieceCache::~PieceCache() = default;

void* PieceCache::room_for(std::size_t bytes) {
  constexpr std::size_t kBlock = std::size_t{1} << 16;  // a few hundred entries
  static_assert(sizeof(Entry) + kMaxPieceBytes + kMaxIds * sizeof(TokenId) < kBlock / 4);
  const std::lock_guard lock(mutex_);
  if (bytes > left_) {
    blocks_.push_back(std::make_unique_for_overwrite<std::byte[]>(kBlock));
    left_ = kBlock;
  }
  void* const room = blocks_.back().get() + (kBlock - left_);
  left_ -= bytes;
  return room;
}

bool PieceCache::find(std::string_view piece, std::vector<TokenId>& ids) const {
  if (piece.size() > kMaxPieceBytes) return false;
  const std::uint64_t hash = hash_of(piece);
  for (std::size_t at = hash & (kSlots - 1);; at = (at + 1) & (kSlots - 1)) {
    const Entry* entry = slots_[at].load(std::memory_order_acquire);
    if (entry == nullptr) return false;
    if (!entry->is(hash, piece)) continue;
    ids.insert(ids.end(), entry->first_id(), entry->first_id() + entry->ids);
    return true;
  }
}

void PieceCache::add(std::string_view piece, std::span<const TokenId> ids) {
  if (piece.size() > kMaxPieceBytes || ids.size() > kMaxIds) return;
  if (count_.load(std::memory_order_relaxed) >= kMaxPieces) return;
  if (count_.fetch_add(1, std::memory_order_relaxed) >= kMaxPieces) return;  // half of the slots stay empty
  const std::uint64_t hash = hash_of(piece);
  const Entry* const entry = Entry::make(room_for(Entry::size_of(piece, ids)), hash, piece, ids);
  for (std::size_t at = hash & (kSlots - 1);; at = (at + 1) & (kSlots - 1)) {
    const Entry* there = nullptr;
    if (slots_[at].compare_exchange_strong(there, entry, std::memory_order_release, std::memory_order_acquire)) return;
    if (there->is(hash, piece)) return;  // another thread was faster
  }
}

}  // namespace lowrank::data
