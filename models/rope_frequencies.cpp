#include <algorithm>
#include <cmath>
#include <numbers>

#include "lowrank/models/rope.h"

namespace lowrank::models {
namespace {

using Kind = RopeScaling::Kind;

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

// "NTK-aware scaling", dynamic: beyond the model's positions θ grows with the length.
float dynamic_theta(const RotarySpec& spec, std::int64_t length) {
  if (length <= spec.max_positions) return static_cast<float>(spec.theta);
  const double width = static_cast<double>(spec.width);
  const float factor = static_cast<float>(spec.scaling.factor);
  const float growth = factor * static_cast<float>(length) / static_cast<float>(spec.max_positions) -
                       static_cast<float>(spec.scaling.factor - 1);
  return static_cast<float>(spec.theta) * std::pow(growth, static_cast<float>(width / (width - 2)));
}

// YaRN (Peng et al. 2023): the first and last frequency of the ramp between keeping and slowing.
std::pair<double, double> yarn_range(const RotarySpec& spec) {
  const double width = static_cast<double>(spec.width);
  const auto place = [&](double rotations) {
    const double original = static_cast<double>(spec.scaling.original_max_position_embeddings);
    return width * std::log(original / (rotations * 2 * std::numbers::pi)) / (2 * std::log(spec.theta));
  };
  double low = place(spec.scaling.beta_fast), high = place(spec.scaling.beta_slow);
  if (spec.scaling.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, width - 1);
  return {low, low == high ? high + 0.001 : high};  // against a division by zero
}

float yarn_frequency(float power, std::int64_t i, const std::pair<double, double>& range, double factor) {
  const float ramp =
      (static_cast<float>(i) - static_cast<float>(range.first)) / static_cast<float>(range.second - range.first);
  const float kept = 1 - std::clamp(ramp, 0.0F, 1.0F);
  return 1.0F / (static_cast<float>(factor) * power) * (1 - kept) + 1.0F / power * kept;
}

double yarn_magnitude(double factor, double mscale) { return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1; }

}  // namespace

std::vector<float> inverse_frequencies(const RotarySpec& spec, std::int64_t length) {
  const RopeScaling& scaling = spec.scaling;
  const float width = static_cast<float>(spec.width);
  const float theta = scaling.kind == Kind::kDynamic ? dynamic_theta(spec, length) : static_cast<float>(spec.theta);
  const auto range = scaling.kind == Kind::kYarn ? yarn_range(spec) : std::pair(0.0, 0.0);
  const auto& extension =
      length > scaling.original_max_position_embeddings ? scaling.long_factor : scaling.short_factor;
  std::vector<float> frequencies;
  for (std::int64_t i = 0; i < spec.width / 2; ++i) {
    const float power = std::pow(theta, static_cast<float>(2 * i) / width);
    float frequency = 1.0F / power;
    if (scaling.kind == Kind::kProportional) {
      const bool turns = i < static_cast<std::int64_t>(scaling.partial * static_cast<double>(spec.width)) / 2;
      frequency = turns ? frequency / static_cast<float>(scaling.factor) : 0.0F;
    }
    if (scaling.kind == Kind::kLinear) frequency /= static_cast<float>(scaling.factor);
    if (scaling.kind == Kind::kLlama3) frequency = llama3_frequency(frequency, scaling);
    if (scaling.kind == Kind::kYarn) frequency = yarn_frequency(power, i, range, scaling.factor);
    if (scaling.kind == Kind::kLongRope) {
      frequency = 1.0F / (static_cast<float>(extension[static_cast<std::size_t>(i)]) * power);
    }
    frequencies.push_back(frequency);
  }
  return frequencies;
}

double attention_factor(const RotarySpec& spec) {
  const RopeScaling& scaling = spec.scaling;
  if (scaling.kind != Kind::kYarn && scaling.kind != Kind::kLongRope) return 1;
  if (scaling.attention_factor) return *scaling.attention_factor;
  if (scaling.kind == Kind::kLongRope) {
    if (scaling.factor <= 1) return 1;
    const double original = static_cast<double>(scaling.original_max_position_embeddings);
    return std::sqrt(1 + std::log(scaling.factor) / std::log(original));
  }
  if (scaling.mscale.value_or(0) != 0 && scaling.mscale_all_dim.value_or(0) != 0) {
    return yarn_magnitude(scaling.factor, *scaling.mscale) / yarn_magnitude(scaling.factor, *scaling.mscale_all_dim);
  }
  return yarn_magnitude(scaling.factor, 1);
}

}  // namespace lowrank::models
