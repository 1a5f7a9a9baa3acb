// Rotary positions: what config.json says of them in its three spellings, and their frequencies.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/models/config_reader.h"
#include "lowrank/models/rotary_spec.h"

namespace lowrank::models {

/// Where a family reads its rotary keys in its own way.
struct RopeKeys {
  bool partial = false;  // partial_rotary_factor is read; else only 1 is accepted
  std::optional<std::int64_t> default_original = std::nullopt;  // original_max_position_embeddings, where it is absent
  std::vector<std::pair<std::string, std::string>> synonyms = {};  // other names of a rope_type: ("su", "longrope")
};

/// The rotary positions of heads of this width, from rope_theta + rope_scaling (with `type` or `rope_type`), or from
/// transformers-5 rope_parameters, flat or nested by layer type where all are equal. FormatError for values that cannot
/// be, ModelError for a kind that is not supported.
RotarySpec read_rope(ConfigReader& keys, const DecoderConfig& config, std::int64_t head_dim, const RopeKeys& rope = {});

/// The frequencies of a segment of this length, width / 2 of them: θ^(-2i/width), scaled as the spec says. Computed in
/// fp32 step by step as transformers does (modeling_rope_utils), so that angles at far positions agree.
std::vector<float> inverse_frequencies(const RotarySpec& spec, std::int64_t length);

/// By what cosines and sines are multiplied.
double attention_factor(const RotarySpec& spec);

}  // namespace lowrank::models
