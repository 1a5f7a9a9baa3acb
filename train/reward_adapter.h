// Rewards from a model of them: an adapter with a score head of one label on the policy's own base.
#pragma once

#include <memory>

#include "lowrank/models/load_classifier.h"
#include "lowrank/train/reward.h"

namespace lowrank::train {

/// The score of prompt and response at their last token, as TRL's get_reward. The model's adapter acts only while it
/// scores, in place of the policy's, which is the one that acts otherwise. `policy` must outlive the reward.
/// ConfigError for a head of several labels.
Reward adapter_reward(std::shared_ptr<models::LoadedClassifier> model, lora::Adapter& policy);

}  // namespace lowrank::train
