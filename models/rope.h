// Rotary positions: what config.json says of them in its three spellings, and their frequencies.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lowrank/models/config_reader.h"
#include "lowrank/models/rotary_spec.h"

namespace lowrank::models {

/// Where a family reads its rotary keys in its own way.
struct RopeKeys {
  bool partial = false;                            // partial_rotary_factor is read; else only 1 is accepted
  double default_partial = 1;                      // where it is absent
  double default_theta = 10000;                    // where rope_theta is absent
  std::vector<std::string_view> passed_over = {};  // keys of the dictionary that text does not depend on
  bool query_growth = false;                       // llama_4_scaling_beta is read
  bool interleaved = false;                        // RotarySpec::interleaved
  bool alpha = false;  // "dynamic" with `alpha` is the default with θ · α^(d/(d−2)), whatever the length (Hunyuan)
  core::Json absent = {};                                       // the parameters where config.json has none
  std::optional<std::int64_t> default_original = std::nullopt;  // original_max_position_embeddings, where it is absent
  std::vector<std::pair<std::string, std::string>> synonyms = {};  // other names of a rope_type: ("su", "longrope")
};

/// The rotary positions of heads of this width, from rope_theta + rope_scaling (with `type` or `rope_type`), or from
/// transformers-5 rope_parameters, flat or nested by layer type where all are equal. FormatError for values that cannot
/// be, ModelError for a kind that is not supported.
RotarySpec read_rope(ConfigReader& keys, const DecoderConfig& config, std::int64_t head_dim, const RopeKeys& rope = {});

/// Rotary positions of one type of layers.
struct RopeOfType {
  std::string_view type;  // as in layer_types
  std::int64_t head_dim = 0;
  double default_theta = 10000;
  std::string_view theta_key = {};  // the key that older files have its θ in; empty: none
  bool scaled = false;              // the rope_scaling of older files is of these layers
  core::Json absent = {};           // the parameters where config.json has none of any type
};

/// The rotary positions of each type, in their order: from rope_parameters, nested by type, or from the older keys.
std::vector<RotarySpec> read_ropes(ConfigReader& keys, const DecoderConfig& config,
                                   const std::vector<RopeOfType>& types);

/// The frequencies of a segment of this length, width / 2 of them: θ^(-2i/width), scaled as the spec says. Computed in
/// fp32 step by step as transformers does (modeling_rope_utils), so that angles at far positions agree.
std::vector<float> inverse_frequencies(const RotarySpec& spec, std::int64_t length);

/// By what cosines and sines are multiplied.
double attention_factor(const RotarySpec& spec);

}  // namespace lowrank::models
