// Learning what is preferred as one number, for ppo.
#pragma once

#include <string>

#include "lowrank/recipes/observer.h"
#include "lowrank/recipes/result.h"
#include "lowrank/recipes/spec/specs.h"

namespace lowrank::recipes {

struct RewardSpec : Spec {
  std::string model;  // a folder, ORG/NAME in the Hugging Face cache, or an adapter with a score head
  DataSpec data;      // pairs: files as data::load_preferences reads them
  double center_rewards_coefficient = 0;
  AdapterSpec adapter;
  TrainSpec train;
  RunSpec run;
};
void describe(Fields& table, RewardSpec& spec);

/// A PEFT adapter with a score head of one label.
ModelResult reward(const RewardSpec& spec, Observer& observer);

}  // namespace lowrank::recipes
