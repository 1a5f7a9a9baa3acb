// `task` image-classification of a fine-tuning run: classes of pictures, by convolutions with adapters.
#pragma once

#include "lowrank/recipes/finetune.h"

namespace lowrank::recipes {

/// What finetune() does with this task: trains an image classifier's adapter, its head or all of it.
ModelResult finetune_images(const FinetuneSpec& spec, Observer& observer);

}  // namespace lowrank::recipes
