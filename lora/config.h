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
  bool use_dora = false;
  std::string init_lora_weights = "default";  // … | orthogonal | pissa | pissa_niter_N | olora | loftq
  /// A list: a module matches when its path is an entry or ends with ".entry"; ["all-linear"] is expanded when
  /// attached. A string: a regular expression that must match the whole path (PEFT: re.fullmatch).
  std::variant<std::vector<std::string>, std::string> target_modules = std::vector<std::string>{"all-linear"};
  /// Parameters that are adapted beside the modules (target_parameters.h): one matches when its path is an entry or ends
  /// with ".entry". With them target_modules may be an empty list.
  std::vector<std::string> target_parameters;
  std::variant<std::vector<std::string>, std::string> exclude_modules = std::vector<std::string>{};
  std::optional<std::vector<std::int64_t>> layers_to_transform;  // only with a list of targets, as in PEFT
  /// Name(s) of the list of layers, regular expressions tried in order; empty: the first numbered segment of a path.
  std::vector<std::string> layers_pattern;
  /// Keys are matched as PEFT does, re.match(r"(.*\.)?(KEY)$", path), first hit wins; kept in file order.
  std::vector<std::pair<std::string, std::int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;
  /// Modules that are trained and saved whole beside A and B: those whose path ends with an entry, to the letter (PEFT:
  /// "norm" takes in input_layernorm too), and all that is inside them. They are no targets.
  std::vector<std::string> modules_to_save;
  bool lora_bias = false;     // a bias beside B, which begins as zero and is added times the scale
  std::string bias = "none";  // trained copies of biases: none | all | lora_only (those of the targets)
  /// Rows of the embedding or the head that are trained in the place of the base's: the end of a module's path, as in
  /// modules_to_save (empty: the input embedding), and the ids in the order of the file.
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> trainable_token_indices;
  /// Of an activated LoRA (aLoRA): it acts from the last occurrence of these tokens on. Empty: on all tokens.
  std::vector<std::int64_t> alora_invocation_tokens;
  /// What is trained of an embedding is trained of the head that is tied to it too (tying.h); without a tied head it
  /// changes nothing.
  bool ensure_weight_tying = false;
  std::string base_model_name_or_path;
  std::optional<std::string> revision;
  std::string task_type = "CAUSAL_LM";  // or SEQ_CLS, or empty: null in the file

  std::int64_t rank_for(const std::string& module) const;
  double alpha_for(const std::string& module) const;
  /// α/r, or α/√r with rsLoRA, by the module's own rank and alpha.
  double scale_for(const std::string& module) const;

  /// Whether the adapter begins as a part of the base's weight (PiSSA, OLoRA), see LoraMatrices::a0.
  bool splits_base() const;

  /// Whether it begins with what a base in codes has lost (LoftQ), see loftq_from().
  bool corrects_base() const { return init_lora_weights == "loftq"; }

  /// Whether modules_to_save takes in the module of this path, itself or with what it is in.
  bool saves_whole(const std::string& module) const;

  bool all_linear() const;  // target_modules is "all-linear", alone in a list or a string

  /// Throws ConfigError for a rank outside [1, 65536], an alpha that is not finite, dropout outside [0, 1),
  /// empty targets, a regular expression that does not compile, layers given with a regular expression as targets, an
  /// odd rank with the orthogonal initialisation, DoRA with PiSSA or OLoRA, an unknown bias …
  void validate() const;
  /// For an adapter that begins: its scales are above 0 too (files may have any, as PEFT).
  void validate_new() const;
};

/// adapter_config.json. Unknown keys that are null, false, 0 or empty are passed over; any other key that asks for more
/// than is supported is a FormatError that names it. Keys that are missing have PEFT's defaults (r and lora_alpha: 8).
LoraConfig parse_adapter_config(const core::JsonView& json);
LoraConfig read_adapter_config(const std::filesystem::path& adapter_directory);
/// The config of the plain LoRA that an adapter with a part of the base is saved as (lora::plain): twice the ranks, and
/// alphas that keep the scales (times 2, with rsLoRA times √2), by patterns too. Other configs as they are.
LoraConfig saved_form(const LoraConfig& config);

/// Its saved form as PEFT writes it: sorted keys, indent 2, no newline at the end. The keys are those of the first
/// versions, and later ones (rank_pattern, alpha_pattern, exclude_modules, use_dora, use_rslora) when they are used:
/// versions of PEFT refuse or warn of keys that they do not know, and none misses one that has its default value.
std::string adapter_config_json(const LoraConfig& config);

/// The module paths that the config targets among `linears` (all modules that can be adapted, in order; `head` is the
/// output embedding's path, left out of all-linear). ConfigError when an entry of target_modules or exclude_modules
/// matches nothing (with the nearest name) or only what modules_to_save takes in, a layer is out of range, or nothing
/// is left.
std::vector<std::string> match_modules(const LoraConfig& config, const std::vector<std::string>& linears,
                                       const std::string& head);

}  // namespace lowrank::lora
