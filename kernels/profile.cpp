#include "lowrank/kernels/profile.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "lowrank/core/error.h"
#include "lowrank/kernels/gemm/micro.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

std::atomic<Profile*> recording{nullptr};
thread_local int depth = 0;  // of ops

double clock_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// What the process has used since it began, into the event.
void add_usage(ProfileEvent& event, int sign) {
  rusage use{};
  ::getrusage(RUSAGE_SELF, &use);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); };
  event.cpu_seconds += sign * (seconds(use.ru_utime) + seconds(use.ru_stime));
  event.page_faults += sign * (use.ru_minflt + use.ru_majflt);
}

}  // namespace

Profile::Profile() : zero_(clock_seconds()) {
  Profile* none = nullptr;
  if (!recording.compare_exchange_strong(none, this)) throw InternalError("kernels::Profile: another one records");
}

Profile::~Profile() { recording = nullptr; }

std::vector<ProfileEvent> Profile::events() const {
  const std::lock_guard lock(mutex_);
  return events_;
}

void Profile::add(const ProfileEvent& event) {
  const std::lock_guard lock(mutex_);
  events_.push_back(event);
}

double Profile::now() const { return clock_seconds() - zero_; }

ProfileScope::ProfileScope(const char* op, double flops, double bytes, bool around) {
  Profile* const profile = recording.load(std::memory_order_relaxed);
  if (profile == nullptr || (!around && depth > 0)) return;
  profile_ = profile;
  around_ = around;
  if (!around) ++depth;
  event_ = {op, profile->now(), 0, flops, bytes, std::hash<std::thread::id>()(std::this_thread::get_id())};
  if (around) add_usage(event_, -1);
}

ProfileScope::~ProfileScope() {
  if (profile_ == nullptr) return;
  if (!around_) --depth;
  event_.seconds = profile_->now() - event_.begin;
  if (around_) add_usage(event_, 1);
  profile_->add(event_);
}

double measured_flops(int threads) {
  constexpr std::int64_t kRounds = 1'000'000;
  const gemm::MicroKernel& kernel = gemm::micro_kernel();
  double best = 0;
  for (int i = 0; i < 8; ++i) {
    std::atomic<float> sum{0};
    const double begin = clock_seconds();
    for_row_chunks(threads, 1, [&](std::int64_t, std::int64_t) { sum = kernel.multiply_adds(kRounds); });
    const double seconds = clock_seconds() - begin;
    best = std::max(best, 2.0 * gemm::kFmaChains * kernel.lanes * kRounds * threads / seconds);
  }
  return best;
}

}  // namespace lowrank::kernels
