// The families that llama.cpp has an architecture for which is written here, and what that architecture can hold.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "lowrank/kernels/activation.h"
#include "lowrank/kernels/router.h"

namespace lowrank::models {

struct GgufArchitecture {
  std::string name;       // general.architecture
  bool permuted = false;  // rows of q and k are in the order in which neighbours turn together
  kernels::Activation activation = kernels::Activation::kSilu;
  bool norm_after_attention = false;  // what post_attention_layernorm is
  bool output = true;                 // it has a head of its own, beside that which the embedding is
  bool o_bias = false, mlp_bias = false, needs_bias = false;  // of attention's output, of the MLP; all have to be there
  bool llama3 = false, longrope = false;                      // which factors of frequencies it has a tensor for
  /// Every period-th layer sees all, the others a window; 0: it has no windows.
  std::int64_t window_period = 0;
  /// How experts are weighted; without_experts: it has none.
  bool experts = false;
  kernels::Router routing = kernels::Router::kRenormalised;
  bool multipliers = false;  // Granite's, by keys
  bool cap = false;          // of scores: always there
  /// The number of layers for which the scores' scale is (width / heads)^-0.5 and not head_dim^-0.5; 0: none.
  std::int64_t wide_scale_layers = 0;
};

/// By model_type.
const std::map<std::string, GgufArchitecture>& gguf_architectures();
/// ModelError for another family.
const GgufArchitecture& gguf_architecture(const std::string& model_type);

}  // namespace lowrank::models
