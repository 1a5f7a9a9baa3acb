// How a family turns queries and keys by their positions.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace lowrank::models {

/// The variants of transformers' modeling_rope_utils. Lengths and factors as config.json names them.
struct RopeScaling {
  enum class Kind { kDefault, kLinear, kDynamic, kYarn, kLongRope, kLlama3, kProportional } kind = Kind::kDefault;
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;      // kLlama3
  std::int64_t original_max_position_embeddings = 8192;  // kLlama3, kYarn, kLongRope
  std::optional<double> attention_factor;                // kYarn, kLongRope: stated, else it follows
  double beta_fast = 32, beta_slow = 1;                  // kYarn
  std::optional<double> mscale, mscale_all_dim;          // kYarn
  bool truncate = true;                                  // kYarn
  std::vector<double> short_factor, long_factor;         // kLongRope, one a frequency
  double partial = 1;                                    // kProportional: the share of frequencies that are not 0

  bool operator==(const RopeScaling&) const = default;
};

struct RotarySpec {
  std::int64_t width = 0;  // columns of a head that turn, from the first
  double theta = 10000;
  RopeScaling scaling;
  std::int64_t max_positions = 0;  // of the model; kDynamic grows from there
  bool interleaved = false;        // neighbours turn together, not the halves
  /// Queries at position p are multiplied by 1 + β · ln(1 + ⌊p / original⌋) (Llama 4's temperature, Ministral 3).
  std::optional<double> query_beta = std::nullopt;  // β
  std::int64_t query_original = 1;

  /// Whether frequencies depend on the length of the segment.
  bool by_length() const {
    return scaling.kind == RopeScaling::Kind::kDynamic || scaling.kind == RopeScaling::Kind::kLongRope;
  }
  bool operator==(const RotarySpec&) const = default;
};

}  // namespace lowrank::models
