// How a config's targets meet a model's modules: the outcome, before anybody judges it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/lora/config.h"

namespace lowrank::lora {

struct Match {
  std::vector<std::string> modules;          // targeted, in the order given
  std::vector<std::string> unused_targets;   // entries of target_modules that name no module
  std::vector<std::string> saved_targets;    // entries of target_modules that name only what modules_to_save takes in
  std::vector<std::string> unused_excludes;  // entries of exclude_modules (or its expression) that exclude nothing
  std::vector<std::int64_t> absent_layers;   // entries of layers_to_transform that no target has
  std::int64_t last_layer = -1;              // greatest layer index among the targets
};

/// PEFT's rules. all-linear takes every module but `head`; the other rules do not look at it. What an entry of
/// modules_to_save names by whole segments, or is inside of, is no target. `modules` may hold more than linear layers
/// (PEFT matches against every module of a model).
Match match(const LoraConfig& config, const std::vector<std::string>& modules, const std::string& head);

/// The config with targets such that PEFT, which sees `linears` and `others` (containers, norms, embeddings), targets
/// `matched` and nothing else: as it stands where that holds, else by the shortest names that tell them apart.
LoraConfig with_portable_targets(LoraConfig config, const std::vector<std::string>& matched,
                                 const std::vector<std::string>& linears, const std::vector<std::string>& others,
                                 const std::string& head);

}  // namespace lowrank::lora
