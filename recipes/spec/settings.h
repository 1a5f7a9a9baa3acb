// What specs become: LoraConfig, DataOptions, PlanOptions, TrainOptions. `fields`: the spec's table, which errors name.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "lowrank/data/dataset.h"
#include "lowrank/data/plan.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/lora/config.h"
#include "lowrank/lora/match.h"
#include "lowrank/recipes/spec/specs.h"
#include "lowrank/train/trainer.h"

namespace lowrank::recipes {

/// Layers, patterns and lists parsed and checked.
lora::LoraConfig lora_config(const AdapterSpec& spec, const Fields& fields);
/// FieldError for a given field of adapters, where none is trained.
void refuse_adapter_fields(const Fields& fields);
/// Names of fields that an adapter which a run starts from brings: they are refused beside it where they differ.
const std::vector<std::string>& brought_by_adapter();
/// What a config's targets are in the model of a run.
using TargetsOf = std::function<lora::Match(const lora::LoraConfig&)>;
/// FieldError when a field contradicts the config of the adapter that the run starts from.
void check_against_adapter(const AdapterSpec& spec, const Fields& fields, const lora::LoraConfig& config,
                           const TargetsOf& targets_of);
/// `dropout`, where it is given, in the place of that of the adapter that the run starts from. ConfigError where it cannot
/// have any; then it is detached.
void take_dropout(const AdapterSpec& spec, lora::Adapter& adapter);
/// Of preferences and rewards: as by TRL's disable_dropout, an adapter that the run starts from has none, unless it is
/// asked for: what is compared would differ by its noise.
AdapterSpec without_dropout(const AdapterSpec& spec);

/// seq_len, or min(1024, the model's positions); FieldError where it exceeds them.
int sequence_length(const DataSpec& spec, const Fields& fields, std::int64_t max_positions);
/// How files are read. ConfigError for columns and layouts that are none.
data::FileOptions file_options(const std::optional<std::string>& columns, const std::optional<std::string>& layout,
                               data::Part part);
data::DataOptions data_options(const DataSpec& spec, const Fields& fields, std::int64_t max_positions);
data::PlanOptions plan_options(const TrainSpec& spec, const DataSpec& data, const Fields& fields);
/// split_seed, or the training's seed: what is kept for validation.
std::uint64_t split_seed(const DataSpec& spec, const TrainSpec& training);
/// Seed of everything random.
inline std::uint64_t seed_of(const TrainSpec& spec) { return static_cast<std::uint64_t>(spec.seed); }

train::TrainOptions train_options(const TrainSpec& spec, const RunSpec& run, double default_lr);
/// The same with LoRA+ and the regularisation of a recipe that trains an adapter.
train::TrainOptions train_options(const TrainSpec& spec, const AdapterSpec& adapter, const RunSpec& run,
                                  double default_lr);
void regularise(train::TrainOptions& options, const RegularisationSpec& spec, const Fields& fields);

}  // namespace lowrank::recipes
