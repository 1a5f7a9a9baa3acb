// An adapter's update made smaller or larger as a whole: W + t·ΔW.
#pragma once

#include <vector>

#include "lowrank/lora/adapter.h"

namespace lowrank::lora {

/// Turns an adapter's scales for a while; the destructor puts back what was there. ConfigError for an adapter with
/// DoRA's magnitudes, which would not be at the base with t = 0, and for one with trained copies of whole tensors.
class DeltaScale {
 public:
  explicit DeltaScale(Adapter& adapter);
  ~DeltaScale() { set(1); }
  DeltaScale(const DeltaScale&) = delete;
  DeltaScale& operator=(const DeltaScale&) = delete;
  /// From here on the adapter adds t·ΔW.
  void set(double t);

 private:
  Adapter& adapter_;
  std::vector<double> scales_, of_experts_;
  double embedding_ = 1;
};

/// ΔW becomes t·ΔW for good: every B (and B0) times t, so that the adapter stays an ordinary one whatever its rank,
/// alpha and patterns say.
void fold_scale(Adapter& adapter, double t);

}  // namespace lowrank::lora
