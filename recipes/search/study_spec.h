// Which study several processes share: those of a sweep, or of several runs of one spec.
#pragma once

#include <optional>
#include <string>

#include "lowrank/recipes/spec/fields.h"
#include "lowrank/train/grad_sync.h"

namespace lowrank::recipes {

struct StudySpec : Spec {
  std::optional<std::string> storage;  // sqlite:///FILE; none: this process alone
  std::optional<std::string> study_name;
  std::optional<double> trial_timeout;  // seconds
  std::int64_t ranks_per_trial = 1;     // that work on each together: the observer's ranks
};
void describe(Fields& table, StudySpec& spec);
/// ConfigError where what goes with `storage` is given without it, and where `sync` has not the ranks of each trial.
void check(const StudySpec& spec, const Fields& fields, const train::GradSync& sync);

}  // namespace lowrank::recipes
