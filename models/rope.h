// Rotary positions: what config.json says of them in its three spellings, and the tables of a forward pass.
#pragma once

#include <cstdint>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/models/config.h"

namespace lowrank::models {

/// Fills rope_theta and rope_scaling from rope_theta + rope_scaling (with `type` or `rope_type`), or from
/// transformers-5 rope_parameters, flat or nested by layer type where all are equal. FormatError for values that cannot
/// be, ModelError for a kind that is not supported.
void read_rope(const core::JsonView& json, DecoderConfig& config);

/// θ^(-2i/d), scaled as config says, i = 0 … d/2 - 1, d = head_dim. Computed in fp32 step by step as transformers does
/// (modeling_rope_utils), so that angles at far positions agree.
std::vector<float> inverse_frequencies(const DecoderConfig& config);

/// cos and sin of position · frequency, [T, d/2] fp32; the same whatever the number of threads.
kernels::RotaryTables rotary_tables(const std::vector<std::int64_t>& positions, const std::vector<float>& frequencies);

}  // namespace lowrank::models
