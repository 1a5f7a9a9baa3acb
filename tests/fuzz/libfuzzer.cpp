// libFuzzer's side of the readers: LOWRANK_FUZZ_READER names the one that this process runs. Beyond what libFuzzer and the sanitizers
// see, an input breaks a promise that takes more than a second of the CPU, or more memory than ten times its size and 64 MB.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include "allocations.h"
#include "fuzz.h"

namespace {

constexpr std::int64_t kRoom = std::int64_t{64} << 20;
constexpr std::int64_t kTimesInput = 10;

const lowrank_fuzz::Target* reader = nullptr;

double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Once more, with what it takes: the same input takes the same way.
void measure(std::string_view input, std::int64_t bound) {
  lowrank_fuzz::begin_peak();
  const double began = cpu_seconds();
  lowrank_fuzz::succeeds([&] { reader->run(input); });
  const double seconds = cpu_seconds() - began;
  const std::int64_t bytes = lowrank_fuzz::peak();
  if (seconds > 1) lowrank_fuzz::broken("it takes " + std::to_string(seconds) + " s of the CPU");
  if (bytes > bound) lowrank_fuzz::broken("it takes " + std::to_string(bytes) + " bytes of memory");
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
  lowrank_fuzz::count_allocations();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::int64_t bound = kTimesInput * static_cast<std::int64_t>(size) + kRoom;
  using Clock = std::chrono::steady_clock;
  const Clock::time_point began = Clock::now();
  lowrank_fuzz::begin_sum();
  lowrank_fuzz::succeeds([&] { reader->run(input); });
  // What took neither half a second by the clock nor asked for more than the bound in all kept both; else it is looked at closely.
  if (lowrank_fuzz::sum() > bound || Clock::now() - began > std::chrono::milliseconds(500)) measure(input, bound);
  return 0;
}
