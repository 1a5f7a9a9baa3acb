#include "lowrank/models/rope.h"

#include <cmath>
#include <numbers>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::models {
namespace {

// "Llama 3.1": long wavelengths are slowed by `factor`, short ones kept, those between blended.
float llama3_frequency(float frequency, const RopeScaling& scaling) {
  const float factor = static_cast<float>(scaling.factor);
  const float low = static_cast<float>(scaling.low_freq_factor), high = static_cast<float>(scaling.high_freq_factor);
  const double original = static_cast<double>(scaling.original_max_position_embeddings);
  const float wavelength = static_cast<float>(2 * std::numbers::pi) / frequency;
  if (wavelength > static_cast<float>(original / scaling.low_freq_factor)) return frequency / factor;
  if (wavelength < static_cast<float>(original / scaling.high_freq_factor)) return frequency;
  const float smooth = (static_cast<float>(original) / wavelength - low) / (high - low);
  return (1 - smooth) * frequency / factor + smooth * frequency;
}

}  // namespace

std::vector<float> inverse_frequencies(const DecoderConfig& config) {
  const float dim = static_cast<float>(config.head_dim);
  const float theta = static_cast<float>(config.rope_theta);
  std::vector<float> frequencies;
  for (std::int64_t i = 0; i < config.head_dim; i += 2) {
    float frequency = 1.0F / std::pow(theta, static_cast<float>(i) / dim);
    if (config.rope_scaling.kind == RopeScaling::Kind::kLinear) {
      frequency /= static_cast<float>(config.rope_scaling.factor);
    } else if (config.rope_scaling.kind == RopeScaling::Kind::kLlama3) {
      frequency = llama3_frequency(frequency, config.rope_scaling);
    }
    frequencies.push_back(frequency);
  }
  return frequencies;
}

kernels::RotaryTables rotary_tables(const std::vector<std::int64_t>& positions, const std::vector<float>& frequencies) {
  const std::int64_t rows = static_cast<std::int64_t>(positions.size());
  const std::int64_t width = static_cast<std::int64_t>(frequencies.size());
  kernels::RotaryTables tables{kernels::aten::empty({rows, width}, at::kFloat),
                               kernels::aten::empty({rows, width}, at::kFloat)};
  kernels::for_row_chunks(rows, 64, [&](std::int64_t begin, std::int64_t end) {
    at::Tensor angles = kernels::aten::empty({end - begin, width}, at::kFloat);
    float* out = angles.data_ptr<float>();
    for (std::int64_t row = begin; row < end; ++row) {
      const float position = static_cast<float>(positions[static_cast<std::size_t>(row)]);
      for (const float frequency : frequencies) *out++ = position * frequency;
    }
    tables.cos.slice(0, begin, end).copy_(angles.cos());
    tables.sin.slice(0, begin, end).copy_(angles.sin());
  });
  return tables;
}

}  // namespace lowrank::models
