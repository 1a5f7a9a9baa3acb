// What a fine-tune would learn from, and what is wrong with that, without training.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/core/progress.h"
#include "lowrank/data/checks.h"
#include "lowrank/recipes/inspection/inspect.h"
#include "lowrank/recipes/spec/specs.h"

namespace lowrank::recipes {

/// The fields of a fine-tune that decide what is learned, and from what.
struct DoctorSpec : Spec {
  std::string model;  // a folder, ORG/NAME in the Hugging Face cache, or an adapter
  DataSpec data;
  AdapterSpec adapter;
  TrainSpec train;
  std::int64_t examples = 2;  // shown token by token
};
void describe(Fields& table, DoctorSpec& spec);

struct Diagnosis {
  std::vector<data::Finding> findings;
  std::string summary;    // what will be trained, in one paragraph
  std::string histogram;  // of the examples' lengths, a line a bar
  Inspection shown;       // examples, and what was read
  core::Json json;
  bool healthy() const { return findings.empty(); }
};

/// Reads the data as `finetune` would, and looks. Errors of data, models and fields as there.
Diagnosis doctor(const DoctorSpec& spec, const Marks& marks, core::ProgressObserver& progress);

}  // namespace lowrank::recipes
