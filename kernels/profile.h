// Where time goes: the ops of a step note what they did while a profile records.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace lowrank::kernels {

/// One op, or a stretch around ops ("step"), on one thread.
struct ProfileEvent {
  const char* op = "";
  double begin = 0, seconds = 0;  // from the profile's beginning
  double flops = 0, bytes = 0;    // multiplications and additions; what must be read and written
  std::uint64_t thread = 0;
  double cpu_seconds = 0;        // of the whole process meanwhile; of a stretch around ops alone, as what follows
  std::int64_t page_faults = 0;
};

/// Records while it lives, in the whole process; one at a time. Ops inside an op are not counted apart.
class Profile {
 public:
  Profile();
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  std::vector<ProfileEvent> events() const;
  void add(const ProfileEvent& event);
  double now() const;  // seconds

 private:
  mutable std::mutex mutex_;
  std::vector<ProfileEvent> events_;
  double zero_ = 0;
};

/// Notes an op from here to its end; costs a comparison where nothing records.
class ProfileScope {
 public:
  /// `around`: ops inside it are counted too.
  explicit ProfileScope(const char* op, double flops = 0, double bytes = 0, bool around = false);
  ~ProfileScope();
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

 private:
  Profile* profile_ = nullptr;
  ProfileEvent event_;
  bool around_ = false;
};

/// Multiply-adds alone on `threads` threads, best of some tries, in FLOP/s: what products are measured against.
double measured_flops(int threads);

}  // namespace lowrank::kernels
