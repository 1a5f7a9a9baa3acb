// Base, adapters and other models side by side on texts and questions.
#pragma once

#include <filesystem>
#include <optional>

#include "lowrank/recipes/evaluation/comparison.h"
#include "lowrank/recipes/evaluation/evaluate.h"

namespace lowrank::recipes {

struct CompareResult {
  Comparison comparison;
  Rows facts;  // of models and data
  core::Json json;
  std::optional<std::filesystem::path> out;  // where report.html and comparison.json lie
};
CompareResult compare(const EvaluateSpec& spec, Observer& observer);

}  // namespace lowrank::recipes
