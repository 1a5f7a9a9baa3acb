// Linear attention by the gated delta rule (Qwen3.5's Gated DeltaNet): a short convolution over queries, keys and
// values, a state of each head that decays and is corrected token by token, a gated norm.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "lowrank/kernels/activation.h"
#include "lowrank/kernels/linear_attention.h"
#include "lowrank/models/blocks/mixer.h"

namespace lowrank::models {

struct GatedDeltaSpec : MixerSpec {
  kernels::DeltaRuleShape shape;
  std::int64_t taps = 4;                                        // of the convolution
  kernels::Activation activation = kernels::Activation::kSilu;  // after it
  double eps = 1e-6;                                            // of the gated norm
  std::string scope = "linear_attn";  // of in_proj_qkv, in_proj_z, in_proj_b, in_proj_a, conv1d, norm, out_proj

  std::unique_ptr<Mixer> build(std::int64_t width, const Scope& layer) const override;
};

}  // namespace lowrank::models
