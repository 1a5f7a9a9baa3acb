// adapter_config.json: what is accepted is written so that it reads the same, and says which modules it means.
#include "fuzz.h"
#include "lowrank/core/json.h"
#include "lowrank/lora/config.h"

using namespace lowrank;

LOWRANK_FUZZ_TARGET(adapter_config) {
  const core::Json json = core::parse_json(input, "adapter_config.json");
  const lora::LoraConfig config = lora::parse_adapter_config(core::JsonView(json, "adapter_config.json"));
  config.validate();
  const std::string written = lora::adapter_config_json(config);
  const core::Json again = core::parse_json(written, "written");
  if (lora::adapter_config_json(lora::parse_adapter_config(core::JsonView(again, "written"))) != written) {
    lowrank_fuzz::broken("a config that is written reads otherwise");
  }
  static const std::vector<std::string> linears = {
      "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj", "model.layers.0.mlp.down_proj",
      "model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj", "model.layers.1.mlp.down_proj", "lm_head"};
  for (const std::string& module : lora::match_modules(config, linears, "lm_head")) {
    if (config.rank_for(module) < 1) lowrank_fuzz::broken("a rank below one");
    (void)config.scale_for(module);
  }
}
