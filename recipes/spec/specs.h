// The options that `finetune` and `pretrain` share, and what they become.
#pragma once

#include <vector>

#include "lowrank/apps/console/options.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/plan.h"
#include "lowrank/lora/config.h"
#include "lowrank/models/load.h"
#include "lowrank/train/trainer.h"

namespace lowrank::apps {

std::vector<OptionSpec> data_options();
std::vector<OptionSpec> adapter_options();
/// `lr`: the default rate in words for help; the number is default_lr's.
std::vector<OptionSpec> training_options(const std::string& lr);
std::vector<OptionSpec> run_options();

/// LoraConfig of --rank, --alpha, --targets …; layers, patterns and lists parsed and checked.
lora::LoraConfig lora_config(const Options& options);
/// ConfigError when a flag contradicts the config of the adapter that the run starts from.
void check_against_adapter(const Options& options, const lora::LoraConfig& config);

data::DataOptions read_options(const Options& options, std::int64_t max_positions);
data::PlanOptions plan_options(const Options& options);
/// --split-seed, or --seed: what is kept for validation.
std::uint64_t split_seed(const Options& options);
train::TrainOptions train_options(const Options& options, double default_lr);

/// Names of options that may differ between a run and its --resume.
const std::vector<std::string>& free_options();
/// What must be equal for --resume: every other option and the given facts (hashes, versions, choices made).
core::Json run_identity(const Options& options, const core::Json& facts);

}  // namespace lowrank::apps
