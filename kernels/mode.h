// Every fused op has a twin made of plain ATen ops and autograd: its oracle. This switch runs the twins instead, for
// the whole process ("--kernels composite" of the bench and the tests).
#pragma once

namespace lowrank::kernels {

enum class Mode { kFused, kComposite };
Mode mode();
void set_mode(Mode mode);

/// Sets a mode for a scope.
class ModeGuard {
 public:
  explicit ModeGuard(Mode m) : before_(mode()) { set_mode(m); }
  ~ModeGuard() { set_mode(before_); }
  ModeGuard(const ModeGuard&) = delete;
  ModeGuard& operator=(const ModeGuard&) = delete;

 private:
  Mode before_;
};

}  // namespace lowrank::kernels
