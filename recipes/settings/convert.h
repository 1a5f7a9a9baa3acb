// Settings files of LLaMA-Factory, Axolotl, mlx-lm, TRL and PEFT, in our words.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

/// Whose settings file has these keys ("LLaMA-Factory", "Axolotl", "mlx-lm", "PEFT", "TRL"); empty: nobody's that is
/// known.
std::string tool_of(const std::vector<std::string>& keys);

/// In remarks and reasons options of ours stand between backticks, `seq-len`, for as_flags().
struct ConvertedSettings {
  std::string tool, verb = "finetune";
  struct Setting {
    std::string name;  // ours; "model" is the MODEL after the verb
    core::Json value;
    std::string remark;  // for people; may be empty
    std::string key;     // theirs; empty: nothing in the file says it
  };
  std::vector<Setting> settings;
  std::vector<std::pair<std::string, std::string>> left_out;  // their key, and why
  std::vector<std::string> other_objective;  // of left_out: keys without which something else is learned
};

/// What the command knows of names.
struct SettingNames {
  std::function<const std::vector<FieldInfo>&(const std::string& verb)> options_of;  // of a verb of ours
  /// Ours for one of theirs, "learning-rate": the option behind two dashes with what is to be said, "the MODEL …", or a
  /// reason why there is none; nothing where it is not known.
  std::function<std::optional<std::string>(const std::string& name)> translation;
};

/// A file of `tool`, its keys in order; `name`: the file's, for errors. What the tool does where the file says nothing,
/// and we do otherwise, is written out as well. ConfigError for numbers that are none.
ConvertedSettings convert_settings(const std::string& tool, const std::string& name, const core::Json& file, const SettingNames& known);

}  // namespace lowrank::recipes
