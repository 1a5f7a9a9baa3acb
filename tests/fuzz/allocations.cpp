#include "allocations.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace lowrank_fuzz {
namespace {

// Plain stores: what another thread's allocation may make a count miss is no more than that allocation.
std::atomic<std::int64_t> asked_for{0}, live{0}, most{0}, looked_at{0};
std::atomic<bool> follows{false};

void add(std::atomic<std::int64_t>& count, std::int64_t size) {
  count.store(count.load(std::memory_order_relaxed) + size, std::memory_order_relaxed);
}

// A decoder may set aside a window of a hundred megabytes at an input's word and use a page of it: of large blocks what was touched counts.
constexpr std::int64_t kLarge = std::int64_t{8} << 20;
struct Block {
  const void* begin = nullptr;
  std::int64_t size = 0;
};
std::array<Block, 64> large;  // no container: it would allocate
std::mutex large_mutex;

std::int64_t touched(const Block& block) {
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  std::uintptr_t at = reinterpret_cast<std::uintptr_t>(block.begin) / page * page;
  const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(block.begin) + static_cast<std::uintptr_t>(block.size);
  std::array<unsigned char, 1024> resident;
  std::uintptr_t pages = 0;
  while (at < end) {
    const std::uintptr_t count = std::min<std::uintptr_t>(resident.size(), (end - at + page - 1) / page);
    if (::mincore(reinterpret_cast<void*>(at), count * page, resident.data()) != 0) return block.size;
    pages += static_cast<std::uintptr_t>(std::count_if(resident.begin(), resident.begin() + count, [](unsigned char r) { return r & 1; }));
    at += count * page;
  }
  return std::min(block.size, static_cast<std::int64_t>(pages * page));
}

/// Large blocks are looked at when one goes and after every megabyte that others took.
void note_peak() {
  std::int64_t bytes = live.load(std::memory_order_relaxed);
  looked_at.store(bytes, std::memory_order_relaxed);
  {
    const std::lock_guard lock(large_mutex);
    for (const Block& block : large)
      if (block.begin != nullptr) bytes += touched(block);
  }
  if (bytes > most.load(std::memory_order_relaxed)) most.store(bytes, std::memory_order_relaxed);
}

void taken(const void* block, std::size_t bytes) {
  const auto size = static_cast<std::int64_t>(bytes);
  add(asked_for, size);
  if (!follows.load(std::memory_order_relaxed)) return;
  if (size >= kLarge) {
    const std::lock_guard lock(large_mutex);
    Block* const free = std::find_if(large.begin(), large.end(), [](const Block& b) { return b.begin == nullptr; });
    if (free != large.end()) {
      *free = {block, size};
      return;
    }
  }
  add(live, size);
  const std::int64_t now = live.load(std::memory_order_relaxed);
  if (now > most.load(std::memory_order_relaxed)) most.store(now, std::memory_order_relaxed);
  if (now > looked_at.load(std::memory_order_relaxed) + (std::int64_t{1} << 20)) note_peak();
}

void given_back(const void* block, std::size_t bytes) {
  if (!follows.load(std::memory_order_relaxed)) return;
  if (static_cast<std::int64_t>(bytes) >= kLarge) {
    note_peak();
    const std::lock_guard lock(large_mutex);
    Block* const known = std::find_if(large.begin(), large.end(), [&](const Block& b) { return b.begin == block; });
    if (known != large.end()) {
      *known = {};
      return;
    }
  }
  add(live, -static_cast<std::int64_t>(bytes));
}

}  // namespace
}  // namespace lowrank_fuzz

#if defined(__has_feature) && __has_feature(address_sanitizer)

#include <sanitizer/allocator_interface.h>

void lowrank_fuzz::count_allocations() {
  __sanitizer_install_malloc_and_free_hooks(
      [](const volatile void* block, std::size_t size) { taken(const_cast<const void*>(block), size); },
      [](const volatile void* block) {
        if (block != nullptr) given_back(const_cast<const void*>(block), __sanitizer_get_allocated_size(const_cast<const void*>(block)));
      });
}

#else

#include <malloc.h>

#include <cerrno>

// glibc's own, which these stand before.
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);
}

namespace {

void* counted(void* block) {
  if (block != nullptr) lowrank_fuzz::taken(block, malloc_usable_size(block));
  return block;
}
void gone(void* block) {
  if (block != nullptr) lowrank_fuzz::given_back(block, malloc_usable_size(block));
}

}  // namespace

extern "C" {
void* malloc(std::size_t size) noexcept { return counted(__libc_malloc(size)); }
void* calloc(std::size_t count, std::size_t size) noexcept { return counted(__libc_calloc(count, size)); }
void* realloc(void* block, std::size_t size) noexcept {
  gone(block);
  return counted(__libc_realloc(block, size));
}
void* memalign(std::size_t alignment, std::size_t size) noexcept { return counted(__libc_memalign(alignment, size)); }
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept { return counted(__libc_memalign(alignment, size)); }
int posix_memalign(void** block, std::size_t alignment, std::size_t size) noexcept {
  *block = counted(__libc_memalign(alignment, size));
  return *block == nullptr ? ENOMEM : 0;
}
void free(void* block) noexcept {
  gone(block);
  __libc_free(block);
}
}

void lowrank_fuzz::count_allocations() {}

#endif

namespace lowrank_fuzz {

void begin_sum() { asked_for.store(0); }
std::int64_t sum() { return asked_for.load(); }

void begin_peak() {
  live.store(0);
  most.store(0);
  looked_at.store(0);
  large.fill({});
  follows.store(true);
}
std::int64_t peak() {
  follows.store(false);
  note_peak();
  return most.load();
}

}  // namespace lowrank_fuzz
