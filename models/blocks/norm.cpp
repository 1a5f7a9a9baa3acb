#include "lowrank/models/blocks/norm.h"

#include <vector>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/norms.h"
#include "lowrank/kernels/ops.h"

namespace lowrank::models {

using Kind = NormSpec::Kind;

Norm::Norm(const NormSpec& spec, std::int64_t width, const Scope& scope) : spec_(spec) {
  if (spec.kind == Kind::kNone) return;
  NormSpec one = spec;
  one.heads = 0;
  for (std::int64_t i = 0; i < spec.heads; ++i) {
    one.name = spec.name + "." + std::to_string(i);
    by_head_.emplace_back(one, width, scope);
  }
  const auto start = spec.kind == Kind::kRmsPlusOne ? Initial::Kind::kZeros : Initial::Kind::kOnes;
  std::vector<Parameter> parameters;
  if (spec.weight) parameters.push_back({"weight", {width}, {start}});
  if (spec.bias) parameters.push_back({"bias", {width}, {Initial::Kind::kZeros}});
  if (by_head_.empty() && !parameters.empty()) parameters_ = scope.parameters(spec.name, parameters);
}

at::Tensor Norm::forward(const at::Tensor& x) const {
  if (!*this) return x;
  if (!by_head_.empty()) {
    std::vector<at::Tensor> heads = x.unbind(1);
    for (std::size_t i = 0; i < heads.size(); ++i) heads[i] = by_head_[i].forward(heads[i]).unsqueeze(1);
    return kernels::aten::cat(heads, 1);
  }
  const bool ones = !spec_.weight && spec_.kind != Kind::kLayer;  // an RMSNorm's kernel wants a weight
  const at::Tensor weight = spec_.weight ? parameters_->current("weight")
                            : ones       ? x.new_ones({x.size(-1)})
                                         : at::Tensor();
  switch (spec_.kind) {
    case Kind::kWideRms:
      return kernels::wide_rms_norm(x, weight, spec_.eps);
    case Kind::kRmsPlusOne:
      return kernels::wide_rms_norm(x, weight.to(at::kFloat).add(1), spec_.eps);
    case Kind::kLayer:
      return kernels::layer_norm(x, weight, spec_.bias ? parameters_->current("bias") : at::Tensor(), spec_.eps);
    default:
      return kernels::rms_norm(x, weight.to(x.scalar_type()), spec_.eps);
  }
}

}  // namespace lowrank::models
