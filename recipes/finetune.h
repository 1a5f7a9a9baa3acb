// Fine-tuning of a language model on text or rows, of a classifier on labelled texts or pictures: one spec, by its
// task.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "lowrank/recipes/observer.h"
#include "lowrank/recipes/result.h"
#include "lowrank/recipes/spec/specs.h"

namespace lowrank::recipes {

struct FinetuneSpec : Spec {
  std::string model;  // a folder, ORG/NAME in the Hugging Face cache, or an adapter
  DataSpec data;
  AdapterSpec adapter;
  TrainSpec train;
  RegularisationSpec regularisation;
  LittleDataSpec little;
  std::optional<std::string> task;  // classification, image-classification; none: the text itself
  std::int64_t samples = 3;
  RunSpec run;
};
void describe(Fields& table, FinetuneSpec& spec);

/// One run: data, choices, training, reports, files. `base`: what several runs share. ConfigError (mostly FieldError)
/// for a spec that cannot be, and the errors of data, models and files. With `folds`, `seeds` or `learning_curve` use
/// repeated_runs.h.
ModelResult finetune(const FinetuneSpec& spec, Observer& observer, std::shared_ptr<SharedBase> base = nullptr);

}  // namespace lowrank::recipes
