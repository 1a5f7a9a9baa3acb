// What families share: the keys that many of them have, and the blocks of Llama, from which many differ in little.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/models/blocks/attention.h"
#include "lowrank/models/blocks/mlp.h"
#include "lowrank/models/config_reader.h"
#include "lowrank/models/description.h"
#include "lowrank/models/rope.h"

namespace lowrank::models {

struct Heads {
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
};
/// num_attention_heads, num_key_value_heads, head_dim. Defaults for keys that are absent: 0 is as many as heads, and
/// hidden_size / heads. FormatError where they do not fit together.
Heads read_heads(ConfigReader& keys, const DecoderConfig& config, std::int64_t default_kv_heads = 0,
                 std::int64_t default_head_dim = 0);

/// A number of a key that must not be negative.
double read_epsilon(ConfigReader& keys, const char* key, double fallback);

/// A factor: 1 where it is absent.
double read_multiplier(ConfigReader& keys, const char* key);

/// A window by layer, or none.
using Windows = std::vector<std::optional<std::int64_t>>;
/// Qwen2's and Qwen3's windows: use_sliding_window, sliding_window, max_window_layers, layer_types.
Windows read_qwen_windows(ConfigReader& keys, std::int64_t layers);

/// sliding_window: a number, or null for none; `fallback` where the key is absent.
std::optional<std::int64_t> read_window(ConfigReader& keys, std::optional<std::int64_t> fallback);

/// The same window for every layer, whatever layer_types says (Mistral): what contradicts it is noted.
Windows read_only_window(ConfigReader& keys, std::int64_t layers, std::optional<std::int64_t> fallback);

/// layer_types, a name of `known` for each layer. FormatError for another number of them, ModelError for another name.
std::vector<std::string> read_layer_types(ConfigReader& keys, std::int64_t layers,
                                          const std::vector<std::string>& known);

/// The same with sliding_attention and full_attention, by a pattern where the key is absent: every `period`th layer is
/// full, the first ones sliding. Written as it was read.
std::vector<std::string> read_sliding_types(ConfigReader& keys, std::int64_t layers, std::int64_t period);
/// The window of the sliding ones.
Windows windows_of(const std::vector<std::string>& types, std::optional<std::int64_t> window);

/// A soft cap: a number, null for none, or absent for the default (0: none).
double read_cap(ConfigReader& keys, const char* key, double fallback);

/// The activation of a key, by transformers' names. ModelError for one that is not known.
kernels::Activation read_activation(ConfigReader& keys, const char* key, const char* fallback);

/// Where a family is not as Llama is.
struct LlamaParts {
  Heads heads;
  AttentionSpec attention = {};  // names and whatever is not told below
  DenseMlpSpec mlp = {};
  bool qkv_bias = false, o_bias = false, mlp_bias = false;
  NormSpec::Kind norm = NormSpec::Kind::kRms;
  double default_eps = 1e-6;
  bool norm_bias = false;
  bool qk_norm = false;  // over each head, before the rotation
  enum class Norms {
    kBefore,  // each branch
    kAround,  // both (Gemma 2's names)
    kAfter,   // (OLMo 2's names)
  };
  Norms norms = Norms::kBefore;
  bool parallel = false;  // both branches read x …
  bool one_norm = false;  // … after one norm
  double residual_scale = 1;
  bool fused = false;    // qkv_proj and gate_up_proj (Phi-3)
  Windows windows = {};  // empty: none
  double scale = 0;      // of scores; 0: head_dim^-0.5
  double cap = 0;        // of scores; 0: none
  const char* activation_key = "hidden_act";
  const char* default_activation = "silu";
  std::optional<kernels::Activation> activation = std::nullopt;  // read already
  RopeKeys rope = {};
  /// Where layers turn in different ways: read already, and which of them each layer has (none: it does not turn).
  std::vector<RotarySpec> ropes = {};
  std::vector<std::optional<std::size_t>> rope_of_layer = {};
};
/// Layers of attention and a gated MLP under Llama's names: intermediate_size, the activation, rms_norm_eps and the
/// rotary keys are read here.
DecoderSpec llama_blocks(ConfigReader& keys, const DecoderConfig& config, const LlamaParts& parts);

}  // namespace lowrank::models
