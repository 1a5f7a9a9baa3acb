// `preset` of a fine-tuning run: fields that suit a kind of data, each unless it is given.
#pragma once

#include "lowrank/recipes/finetune.h"

namespace lowrank::recipes {

/// Sets what the preset of the spec names; what was given stays. Says what was set. Nothing without a preset.
void apply_preset(FinetuneSpec& spec, Observer& observer);

/// A preset's early stopping goes by validation: without any it is off (said).
void stop_by_validation_only(train::TrainOptions& options, bool has_validation, Observer& observer);

}  // namespace lowrank::recipes
