// A small model trained from a random start.
#pragma once

#include <optional>
#include <string>

#include "lowrank/recipes/observer.h"
#include "lowrank/recipes/result.h"
#include "lowrank/recipes/spec/specs.h"

namespace lowrank::recipes {

struct PretrainSpec : Spec {
  std::string config;     // config.json of the model to make
  std::string tokenizer;  // tokenizer.json or tokenizer.model, or the folder of it
  std::string save_dtype = "bfloat16";
  DataSpec data;
  std::optional<double> router_aux_loss;  // none: as config.json says
  TrainSpec train;
  RunSpec run;
};
void describe(Fields& table, PretrainSpec& spec);

/// Data, training, reports, and a model folder in `run.out`.
RunResult pretrain(const PretrainSpec& spec, Observer& observer);

}  // namespace lowrank::recipes
