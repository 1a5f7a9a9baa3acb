// LoraConfig: PEFT's adapter_config.json as we understand it, and the rules that match modules to it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "lowrank/core/json.h"

namespace lowrank::lora {

/// PEFT 0.21 LoraConfig, the part that is supported. Names and meaning are PEFT's.
struct LoraConfig {
  std::int64_t r = 16;
  double lora_alpha = 32;
  double lora_dropout = 0;
  bool use_rslora = false;
  bool fan_in_fan_out = false;
  std::string init_lora_weights = "default";     // default | gaussian
  /// A list: a module matches when its path is an entry or ends with ".entry"; ["all-linear"] is expanded when attached.
  /// A string: a regular expression that must match the whole path (PEFT: re.fullmatch).
  std::variant<std::vector<std::string>, std::string> target_modules = std::vector<std::string>{"all-linear"};
  std::variant<std::vector<std::string>, std::string> exclude_modules = std::vector<std::string>{};
  std::optional<std::vector<std::int64_t>> layers_to_transform;   // only with a list of targets, as in PEFT
  std::optional<std::string> layers_pattern;
  /// Keys are matched as PEFT does, re.match(r"(.*\.)?(KEY)$", path), first hit wins; kept in file order.
  std::vector<std::pair<std::string, std::int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;
  std::string base_model_name_or_path;
  std::optional<std::string> revision;
  std::string task_type = "CAUSAL_LM";

  std::int64_t rank_for(const std::string& module) const;
  double alpha_for(const std::string& module) const;
  /// α/r, or α/√r with rsLoRA, by the module's own rank and alpha.
  double scale_for(const std::string& module) const;

  /// Throws ConfigError for a rank < 1, an alpha that is not finite or not > 0, dropout outside [0, 1), a regex that does not compile …
  void validate() const;
};

/// adapter_config.json. Unknown keys that are null, false, 0 or empty are passed over; any other key that asks for more
/// than is supported is a FormatError that names it.
LoraConfig parse_adapter_config(const core::JsonView& json);
LoraConfig read_adapter_config(const std::filesystem::path& adapter_directory);
/// Every key PEFT writes, sorted, indent 2.
std::string adapter_config_json(const LoraConfig& config);

/// The module paths that the config targets among `linears` (all linear modules of the model, in order; `head` is the
/// output embedding's path, left out of all-linear). ConfigError when a target matches nothing (with the nearest name),
/// or a layer is out of range.
std::vector<std::string> match_modules(const LoraConfig& config, const std::vector<std::string>& linears,
                                       const std::string& head);

}  // namespace lowrank::lora
