#include "allocations.h"

#include <atomic>
#include <cstddef>

namespace lowrank_fuzz {
namespace {

// Plain stores: what another thread's allocation may make a count miss is no more than that allocation.
std::atomic<std::int64_t> asked_for{0}, live{0}, most{0};
std::atomic<bool> follows{false};

void add(std::atomic<std::int64_t>& count, std::int64_t size) {
  count.store(count.load(std::memory_order_relaxed) + size, std::memory_order_relaxed);
}

void taken(std::size_t size) {
  add(asked_for, static_cast<std::int64_t>(size));
  if (!follows.load(std::memory_order_relaxed)) return;
  add(live, static_cast<std::int64_t>(size));
  if (live.load(std::memory_order_relaxed) > most.load(std::memory_order_relaxed)) {
    most.store(live.load(std::memory_order_relaxed), std::memory_order_relaxed);
  }
}

}  // namespace
}  // namespace lowrank_fuzz

#if defined(__has_feature) && __has_feature(address_sanitizer)

#include <sanitizer/allocator_interface.h>

void lowrank_fuzz::count_allocations() {
  __sanitizer_install_malloc_and_free_hooks(
      [](const volatile void*, std::size_t size) { taken(size); },
      [](const volatile void* block) {
        if (!follows.load(std::memory_order_relaxed) || block == nullptr) return;
        add(live, -static_cast<std::int64_t>(__sanitizer_get_allocated_size(const_cast<const void*>(block))));
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
  if (block != nullptr) lowrank_fuzz::taken(malloc_usable_size(block));
  return block;
}
void gone(void* block) {
  if (block != nullptr && lowrank_fuzz::follows.load(std::memory_order_relaxed)) {
    lowrank_fuzz::add(lowrank_fuzz::live, -static_cast<std::int64_t>(malloc_usable_size(block)));
  }
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
  follows.store(true);
}
std::int64_t peak() {
  follows.store(false);
  return most.load();
}

}  // namespace lowrank_fuzz
