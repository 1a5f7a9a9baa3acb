// What a layer does with each token by itself: a gated or plain MLP is one, a mixture of experts would be another.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "lowrank/kernels/activation.h"
#include "lowrank/models/blocks/pass.h"
#include "lowrank/models/blocks/scope.h"

namespace lowrank::models {

class Mlp {
 public:
  virtual ~Mlp() = default;
  /// x [T, d], normed -> [T, d].
  virtual at::Tensor forward(const at::Tensor& x, const LayerPass& pass) const = 0;
  /// Values that a backward pass keeps of a token, about.
  virtual std::int64_t kept_per_token() const = 0;
};

/// What a family says of it.
struct MlpSpec {
  virtual ~MlpSpec() = default;
  /// Parameters that a token does not pass through: of the experts that it does not take. `width`: of x.
  virtual std::int64_t idle_parameters(std::int64_t /*width*/) const { return 0; }
  /// `width`: of x; `layer`: the scope of the layer.
  virtual std::unique_ptr<Mlp> build(std::int64_t width, const Scope& layer) const = 0;
};

/// down(f(gate x) · up x), or plain: down(f(up x)).
struct DenseMlpSpec : MlpSpec {
  std::int64_t width = 0;  // intermediate_size
  kernels::Activation activation = kernels::Activation::kSilu;
  bool bias = false;
  bool transposed = false;                                                            // weights are stored [in, out]
  double down_deviation = 1;                                                          // LinearShape::deviation of down
  std::string scope = "mlp", gate = "gate_proj", up = "up_proj", down = "down_proj";  // gate empty: plain
  std::string fused = "";  // one layer whose columns are all gates, then all ups, instead of both; empty: none

  std::unique_ptr<Mlp> build(std::int64_t model_width, const Scope& layer) const override;
};

}  // namespace lowrank::models
