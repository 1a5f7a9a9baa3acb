// Llama 1 to 3.x and what shares its shape (SmolLM, TinyLlama, Yi …): transformers' LlamaForCausalLM.
#include "lowrank/models/families/family.h"

namespace lowrank::models {
namespace {

void read(const core::JsonView& json, DecoderConfig& config) {
  const bool attention_bias = json.get_bool("attention_bias", false);
  config.qkv_bias = config.o_bias = attention_bias;
  config.mlp_bias = json.get_bool("mlp_bias", false);
}

void write(const DecoderConfig& config, core::Json& json) {
  json["attention_bias"] = config.qkv_bias;
  json["mlp_bias"] = config.mlp_bias;
  json["pretraining_tp"] = 1;
}

}  // namespace

const Family& llama_family() {
  static const Family family{.model_type = "llama",
                             .architecture = "LlamaForCausalLM",
                             .keys = {"attention_bias", "mlp_bias"},
                             .read = read,
                             .write = write};
  return family;
}

}  // namespace lowrank::models
