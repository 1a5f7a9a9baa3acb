// PEFT's target_parameters: the parameters that are adapted where a module is no linear layer, such as those of a
// layer's experts and of its router.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lowrank/lora/adapter.h"
#include "lowrank/lora/match.h"

namespace lowrank::lora {

/// "model.layers.0.mlp.gate.weight" of every router, then the paths of the slots of experts, then of every other linear
/// layer that of its weight, whose update as a parameter is that of the layer. Not of transposed ones (Conv1D), whose
/// matrices PEFT has the other way round then.
std::vector<std::string> parameter_paths(const SlotTable& table);
/// The same as a file spells them: `spelt` gives the path of a module.
std::vector<std::string> parameter_paths(const SlotTable& table,
                                         const std::function<std::string(const std::string&)>& spelt);
/// The path by which patterns of a config know a linear slot, `path` in the config's words: that, and where it is
/// adapted as a parameter (routers always are) that of its weight.
std::string pattern_path(const LinearSlotImpl& slot, const SlotTable& table, const std::string& path,
                         const LoraConfig& config);
/// ConfigError for a layer that target_modules and target_parameters both take in (PEFT wraps it twice).
void check_named_once(const std::vector<std::string>& modules, const std::vector<std::string>& parameters);
/// Those of `paths` that an entry names: it is the whole path, or the path ends in ".entry". `unused`: entries that
/// name none.
std::vector<std::string> match_parameters(const std::vector<std::string>& entries,
                                          const std::vector<std::string>& paths,
                                          std::vector<std::string>* unused = nullptr);

/// Whether an entry of target_modules that ends in this name means a parameter of experts or a router in this model
/// (SlotTable::converts_expert_targets), so that no linear layer of the name can be a target.
bool means_parameter(const SlotTable& table, const std::string& name);

/// A config as PEFT reads it for such a model: names of an expert's linear layers and of the router move from
/// target_modules to target_parameters, and where gate and up are one parameter it has twice the rank and alpha
/// (rank_pattern, alpha_pattern). all-linear takes the experts too; routers only where they are named. ConfigError for
/// gate without up or the other way round. Other models' as it is. `also_linear`: names stay in target_modules as well
/// (of a file that adapts linear layers under them).
LoraConfig with_expert_targets(LoraConfig config, const SlotTable& table, bool also_linear = false);

/// match() on all that a config may name in a model; the parameters come behind the modules.
Match targets_in(const SlotTable& table, const LoraConfig& config);

/// ConfigError for what PEFT's ParamWrapper refuses: dropout, DoRA, an initialisation from the weight, biases.
void check_parameter_config(const LoraConfig& config);

}  // namespace lowrank::lora
