// Settings files of LLaMA-Factory, Axolotl, mlx-lm, TRL and PEFT, in our words.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lowrank/core/json.h"

namespace lowrank::apps {

/// Whose settings file has these keys ("LLaMA-Factory", "Axolotl", "mlx-lm", "PEFT", "TRL"); empty: nobody's that is
/// known.
std::string tool_of(const std::vector<std::string>& keys);

struct Converted {
  std::string tool, verb = "finetune";
  struct Setting {
    std::string name;  // ours; "model" is the MODEL after the verb
    core::Json value;
    std::string remark;  // for people; may be empty
  };
  std::vector<Setting> settings;
  std::vector<std::pair<std::string, std::string>> left_out;  // their key, and why
};

/// A file of `tool`, its keys in order. What the tool does where the file says nothing, and we do otherwise, is written
/// out as well.
Converted convert(const std::string& tool, const core::Json& file);

}  // namespace lowrank::apps
