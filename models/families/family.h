// What differs between families. A family is one small file that fills this in; registry.cpp lists them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/models/config.h"

namespace lowrank::models {

struct Family {
  std::string_view model_type;         // as in config.json: "llama"
  std::string_view architecture;       // "LlamaForCausalLM"
  std::vector<std::string_view> keys;  // keys of config.json that it reads beyond the common ones

  // transformers' defaults for keys that config.json leaves out.
  std::int64_t default_max_positions = 2048;
  std::int64_t default_kv_heads = 0;  // 0: as many as heads
  std::int64_t default_head_dim = 0;  // 0: hidden_size / heads

  /// Fills in what is peculiar to the family: biases, q/k norms, windows. The common fields are set already.
  void (*read)(const core::JsonView& json, DecoderConfig& config);
  /// The inverse: adds the family's keys to a config.json.
  void (*write)(const DecoderConfig& config, core::Json& json);
};

const Family& llama_family();
const Family& mistral_family();
const Family& qwen2_family();
const Family& qwen3_family();

/// Every family, in alphabetical order of model_type.
const std::vector<const Family*>& families();
/// ModelError that lists the known types when there is none of this name.
const Family& find_family(std::string_view model_type, std::string_view where);

/// Qwen2's and Qwen3's windows: use_sliding_window, sliding_window, max_window_layers, layer_types.
void read_qwen_windows(const core::JsonView& json, DecoderConfig& config);
void write_qwen_windows(const DecoderConfig& config, core::Json& json);

}  // namespace lowrank::models
