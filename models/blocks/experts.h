// A mixture of experts in an MLP's place.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/kernels/router.h"
#include "lowrank/models/blocks/mlp.h"

namespace lowrank::models {

/// Σ over a token's experts of w · down(f(gate x) · up x), and beside it, where there is one, a shared expert that
/// every token goes through: + sigmoid(shared gate · x) · shared(x).
struct ExpertsMlpSpec : MlpSpec {
  std::int64_t experts = 0, per_token = 0, width = 0;  // width: of one expert
  kernels::Router routing = kernels::Router::kRenormalised;
  kernels::Activation activation = kernels::Activation::kSilu;
  bool router_bias = false;
  bool bias = false;         // of every expert's matrices
  bool transposed = false;   // parameters are [E, in, out]
  bool interleaved = false;  // gates and ups in turns, by kernels::clamped_swiglu with these:
  double alpha = 0, limit = 0;
  std::shared_ptr<const DenseMlpSpec> shared = nullptr;  // its scope inside this one's
  std::string shared_gate = "shared_expert_gate";

  std::string scope = "mlp", router = "gate";
  /// What files have for each expert: gate, up, down; empty: never.
  std::vector<std::string> parts = {"gate_proj", "up_proj", "down_proj"};

  std::int64_t idle_parameters(std::int64_t model_width) const override {
    return (experts - per_token) * (3 * width * model_width + (bias ? 2 * width + model_width : 0));
  }
  std::unique_ptr<Mlp> build(std::int64_t model_width, const Scope& layer) const override;
};

}  // namespace lowrank::models
