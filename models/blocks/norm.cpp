#include "lowrank/models/blocks/norm.h"

#include <vector>

#include "lowrank/kernels/norms.h"
#include "lowrank/kernels/ops.h"

namespace lowrank::models {

using Kind = NormSpec::Kind;

Norm::Norm(const NormSpec& spec, std::int64_t width, const Scope& scope) : spec_(spec) {
  if (spec.kind == Kind::kNone) return;
  const auto weight = spec.kind == Kind::kRmsPlusOne ? Initial::Kind::kZeros : Initial::Kind::kOnes;
  std::vector<Parameter> parameters = {{"weight", {width}, {weight}}};
  if (spec.bias) parameters.push_back({"bias", {width}, {Initial::Kind::kZeros}});
  parameters_ = scope.parameters(spec.name, parameters);
}

at::Tensor Norm::forward(const at::Tensor& x) const {
  if (!*this) return x;
  const at::Tensor weight = parameters_->current("weight");
  switch (spec_.kind) {
    case Kind::kWideRms:
      return kernels::wide_rms_norm(x, weight, spec_.eps);
    case Kind::kRmsPlusOne:
      return kernels::wide_rms_norm(x, weight.to(at::kFloat).add(1), spec_.eps);
    case Kind::kLayer:
      return kernels::layer_norm(x, weight, parameters_->current("bias"), spec_.eps);
    default:
      return kernels::rms_norm(x, weight.to(x.scalar_type()), spec_.eps);
  }
}

}  // namespace lowrank::models
