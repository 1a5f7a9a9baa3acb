// How well a classifier tells labelled texts apart.
#pragma once

#include <string>
#include <vector>

#include "lowrank/data/labelled.h"
#include "lowrank/eval/classify.h"
#include "lowrank/recipes/evaluation/evaluate.h"

namespace lowrank::recipes {

struct LabelledSet {
  std::string name;
  bool named = false;
  eval::Classified found;
  double majority = 0;  // accuracy of always saying the set's most frequent label
};
struct LabelsResult {
  std::vector<std::string> labels;
  std::vector<LabelledSet> sets;
  core::Json json;
};
/// Every set with the classifier that the model or the adapter is.
LabelsResult evaluate_labels(const EvaluateSpec& spec, EvaluationObserver& observer);

}  // namespace lowrank::recipes
