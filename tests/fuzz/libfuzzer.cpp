// libFuzzer's side of the readers: LOWRANK_FUZZ_READER names the one that this process runs. Beyond what libFuzzer and the sanitizers
// see, an input breaks a promise that takes more than a second of the CPU, or more memory than ten times its size and 64 MB.
#include <sanitizer/allocator_interface.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include "fuzz.h"

namespace {

constexpr std::int64_t kRoom = std::int64_t{64} << 20;
constexpr std::int64_t kTimesInput = 10;

const lowrank_fuzz::Target* reader = nullptr;
std::atomic<std::int64_t> live{0}, most{0};

void allocated(const volatile void*, std::size_t size) {
  const std::int64_t now = live.fetch_add(static_cast<std::int64_t>(size)) + static_cast<std::int64_t>(size);
  if (now > most.load(std::memory_order_relaxed)) most.store(now, std::memory_order_relaxed);
}
void freed(const volatile void* block) {
  const void* const plain = const_cast<const void*>(block);
  if (plain != nullptr) live.fetch_sub(static_cast<std::int64_t>(__sanitizer_get_allocated_size(plain)));
}

double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* const name = std::getenv("LOWRANK_FUZZ_READER");
  for (const lowrank_fuzz::Target& target : lowrank_fuzz::targets()) {
    if (name == nullptr) std::puts(target.name);
    if (name != nullptr && std::string(name) == target.name) reader = &target;
  }
  if (name == nullptr) std::exit(0);
  if (reader == nullptr) lowrank_fuzz::broken(std::string("there is no reader ") + name);
  __sanitizer_install_malloc_and_free_hooks(allocated, freed);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::int64_t before = live.load();
  most.store(before);
  const double began = cpu_seconds();
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  lowrank_fuzz::succeeds([&] { reader->run(input); });
  if (const double took = cpu_seconds() - began; took > 1) lowrank_fuzz::broken("it takes " + std::to_string(took) + " s of the CPU");
  if (const std::int64_t took = most.load() - before; took > kTimesInput * static_cast<std::int64_t>(size) + kRoom) {
    lowrank_fuzz::broken("it takes " + std::to_string(took) + " bytes of memory");
  }
  return 0;
}
