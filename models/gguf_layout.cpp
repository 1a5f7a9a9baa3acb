#include "lowrank/models/gguf_layout.h"

#include "lowrank/models/gguf_architecture.h"

namespace lowrank::models {

lora::GgufLayout gguf_layout(const DecoderConfig& config) {
  const GgufArchitecture& architecture = gguf_architecture(config.model_type);
  lora::GgufLayout layout;
  layout.architecture = architecture.name;
  layout.permuted = architecture.permuted;
  layout.norm_after_attention = architecture.norm_after_attention;
  const core::JsonView keys(config.family_keys, "config.json");
  if (layout.permuted) {
    layout.heads = keys.at("num_attention_heads").as_int(1);
    layout.kv_heads = keys.has_value("num_key_value_heads") ? keys.at("num_key_value_heads").as_int(1) : layout.heads;
  }
  return layout;
}

}  // namespace lowrank::models
