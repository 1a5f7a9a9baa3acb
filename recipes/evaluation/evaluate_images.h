// How well an image classifier, or a base and its adapter, tell pictures apart.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lowrank/eval/image_scores.h"
#include "lowrank/recipes/evaluation/evaluate.h"

namespace lowrank::recipes {

struct ImagesSet {
  std::string name;
  bool named = false;
  std::optional<eval::ImageScores> base, adapter;
  const eval::ImageScores& shown() const { return adapter ? *adapter : *base; }
};
struct ImagesResult {
  std::vector<std::string> labels;
  std::vector<ImagesSet> sets;
  core::Json json;
};
ImagesResult evaluate_images(const EvaluateSpec& spec, EvaluationObserver& observer);

}  // namespace lowrank::recipes
