// Learning from preference pairs (DPO).
#pragma once

#include <string>

#include "lowrank/recipes/observer.h"
#include "lowrank/recipes/result.h"
#include "lowrank/recipes/spec/specs.h"

namespace lowrank::recipes {

struct DpoSpec : Spec {
  std::string model;  // a folder, ORG/NAME in the Hugging Face cache, or an adapter
  DataSpec data;      // pairs: files as data::load_preferences reads them
  double beta = 0.1;
  std::string loss = "sigmoid";
  double router_aux_loss = 0;
  AdapterSpec adapter;
  TrainSpec train;
  RunSpec run;
};
void describe(Fields& table, DpoSpec& spec);

ModelResult dpo(const DpoSpec& spec, Observer& observer);

/// The words of help for data of pairs.
DataWords pair_words();

}  // namespace lowrank::recipes
