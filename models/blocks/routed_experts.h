// The matrices of a layer's experts, and what routed tokens come to in them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lowrank/models/blocks/experts.h"

namespace lowrank::models {

class RoutedExperts {
 public:
  /// The parameters "experts.gate_up_proj" and "experts.down_proj" in `scope`.
  RoutedExperts(const ExpertsMlpSpec& spec, std::int64_t width, const Scope& scope);

  /// Σ over a token's experts of weight · down(f(gate x) · up x): x [T, d] -> [T, d].
  at::Tensor forward(const at::Tensor& x, const kernels::Routed& routed) const;
  /// Values that a backward pass keeps of a token, about.
  std::int64_t kept_per_token() const;

 private:
  at::Tensor activated(const at::Tensor& x) const;

  ExpertsMlpSpec spec_;
  std::int64_t model_width_;
  lora::ExpertsSlot gate_up_, down_;
};

}  // namespace lowrank::models
