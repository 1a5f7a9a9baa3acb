// The config of an adapter's folder, PEFT's or mlx-lm's.
#include "lowrank/core/json.h"
#include "lowrank/lora/config.h"
#include "lowrank/lora/mlx_adapter.h"

namespace lowrank::lora {

LoraConfig read_adapter_config(const std::filesystem::path& adapter_directory) {
  if (is_mlx_adapter(adapter_directory)) return read_mlx_config(adapter_directory);
  const auto file = adapter_directory / "adapter_config.json";
  core::JsonLimits limits;
  limits.max_bytes = 16 << 20;
  const core::Json json = core::read_json(file, limits);
  return parse_adapter_config(core::JsonView(json, file.string()));
}

}  // namespace lowrank::lora
