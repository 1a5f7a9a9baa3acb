// `task` classification of a fine-tuning run: labels of texts, by a score head over the decoder.
#pragma once

#include <memory>

#include "lowrank/recipes/finetune.h"

namespace lowrank::recipes {

/// What finetune() does with this task; the adapter of the result has the score head among its whole modules.
ModelResult finetune_classifier(const FinetuneSpec& spec, const Fields& fields, Observer& observer,
                                std::shared_ptr<SharedBase> base);

}  // namespace lowrank::recipes
