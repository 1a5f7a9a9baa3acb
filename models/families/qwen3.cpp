// Qwen3: Llama with RMSNorm on every head of q and k before the rotation, an explicit head_dim, and windows by layer
// (transformers' Qwen3ForCausalLM).
#include "lowrank/models/families/family.h"

namespace lowrank::models {
namespace {

void read(const core::JsonView& json, DecoderConfig& config) {
  config.qkv_bias = config.o_bias = json.get_bool("attention_bias", false);
  config.qk_norm = true;
  read_qwen_windows(json, config);
}

void write(const DecoderConfig& config, core::Json& json) {
  json["attention_bias"] = config.qkv_bias;
  write_qwen_windows(config, json);
}

}  // namespace

const Family& qwen3_family() {
  static const Family family{
      .model_type = "qwen3",
      .architecture = "Qwen3ForCausalLM",
      .keys = {"attention_bias", "use_sliding_window", "sliding_window", "max_window_layers", "layer_types"},
      .default_max_positions = 32768,
      .default_kv_heads = 32,
      .default_head_dim = 128,
      .read = read,
      .write = write};
  return family;
}

}  // namespace lowrank::models
