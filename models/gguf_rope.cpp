#include "lowrank/models/gguf_rope.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "lowrank/core/error.h"
#include "lowrank/kernels/host.h"

namespace lowrank::models {

namespace {

using Kind = RopeScaling::Kind;

[[noreturn]] void refuse(const GgufArchitecture& architecture, const std::string& what) {
  throw ModelError(
      fmt::format("llama.cpp's architecture {} cannot hold this model: {}; keep the merged model in safetensors",
                  architecture.name, what));
}

at::Tensor tensor_of(const std::vector<float>& values) {
  return kernels::from_host<float>(values, {static_cast<std::int64_t>(values.size())});
}

/// What Llama 3 divides each frequency by.
std::vector<float> llama3_factors(const RotarySpec& rope) {
  const RopeScaling& scaling = rope.scaling;
  const auto original = static_cast<double>(scaling.original_max_position_embeddings);
  std::vector<float> factors;
  for (std::int64_t i = 0; i < rope.width; i += 2) {
    const double length =
        2 * std::numbers::pi * std::pow(rope.theta, static_cast<double>(i) / static_cast<double>(rope.width));
    if (length < original / scaling.high_freq_factor) {
      factors.push_back(1);
    } else if (length > original / scaling.low_freq_factor) {
      factors.push_back(static_cast<float>(scaling.factor));
    } else {
      const double smooth =
          (original / length - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
      factors.push_back(static_cast<float>(1 / ((1 - smooth) / scaling.factor + smooth)));
    }
  }
  return factors;
}

std::vector<float> floats(const std::vector<double>& values) { return {values.begin(), values.end()}; }

/// Phi-3's long and short factors, by what multiplies queries and keys.
void put_longrope(const DecoderConfig& config, const RopeScaling& scaling, const std::string& prefix, GgufRope& out) {
  const auto original = static_cast<double>(scaling.original_max_position_embeddings);
  const double stretch = static_cast<double>(config.max_positions) / original;
  const double follows = stretch > 1 ? std::sqrt(1 + std::log(stretch) / std::log(original)) : 1;
  out.values.emplace_back(prefix + "scaling.attn_factor",
                          static_cast<float>(scaling.attention_factor.value_or(follows)));
  out.factors.emplace_back("rope_factors_long.weight", tensor_of(floats(scaling.long_factor)));
  out.factors.emplace_back("rope_factors_short.weight", tensor_of(floats(scaling.short_factor)));
  out.notes.push_back(fmt::format(
      "llama.cpp takes the long factors of longrope wherever its context (-c) is longer than {} tokens, and not "
      "by the length of the text",
      scaling.original_max_position_embeddings));
}

}  // namespace

GgufRope gguf_rope(const DecoderConfig& config, const RotarySpec* full, const RotarySpec* window,
                   const GgufArchitecture& architecture) {
  GgufRope out;
  if (full == nullptr) return out;
  const std::string prefix = architecture.name + ".rope.";
  const RopeScaling& scaling = full->scaling;
  if (full->interleaved || full->query_beta) refuse(architecture, "its positions turn in another way");
  const auto put_count = [&](const char* key, std::int64_t value) {
    out.values.emplace_back(prefix + key, static_cast<std::uint32_t>(value));
  };
  put_count("dimension_count", full->width);
  out.values.emplace_back(prefix + "freq_base", static_cast<float>(full->theta));
  if (window != nullptr) {
    if (window->scaling.kind != Kind::kDefault || window->width != full->width || window->interleaved)
      refuse(architecture, "its layers with a window turn positions in another way");
    out.values.emplace_back(prefix + "freq_base_swa", static_cast<float>(window->theta));
  }
  // Phi-3 has the key in every file, scaled or not.
  if (architecture.longrope)
    put_count("scaling.original_context_length",
              scaling.kind == Kind::kLongRope ? scaling.original_max_position_embeddings : config.max_positions);
  switch (scaling.kind) {
    case Kind::kDefault:
      break;
    case Kind::kLinear:
      out.values.emplace_back(prefix + "scaling.type", std::string("linear"));
      out.values.emplace_back(prefix + "scaling.factor", static_cast<float>(scaling.factor));
      break;
    case Kind::kYarn:
      if (scaling.attention_factor || scaling.mscale || scaling.mscale_all_dim || !scaling.truncate)
        refuse(architecture, "its yarn rotation has an attention_factor, an mscale or no truncation");
      out.values.emplace_back(prefix + "scaling.type", std::string("yarn"));
      out.values.emplace_back(prefix + "scaling.factor", static_cast<float>(scaling.factor));
      put_count("scaling.original_context_length", scaling.original_max_position_embeddings);
      out.values.emplace_back(prefix + "scaling.yarn_beta_fast", static_cast<float>(scaling.beta_fast));
      out.values.emplace_back(prefix + "scaling.yarn_beta_slow", static_cast<float>(scaling.beta_slow));
      break;
    case Kind::kLlama3:
      if (!architecture.llama3) refuse(architecture, "its rope_type is llama3");
      out.factors.emplace_back("rope_freqs.weight", tensor_of(llama3_factors(*full)));
      break;
    case Kind::kLongRope:
      if (!architecture.longrope) refuse(architecture, "its rope_type is longrope");
      put_longrope(config, scaling, prefix, out);
      break;
    case Kind::kDynamic:
      refuse(architecture, "its rope_type is dynamic");
    case Kind::kProportional:
      refuse(architecture, "its rope_type is proportional");
  }
  return out;
}

}  // namespace lowrank::models
