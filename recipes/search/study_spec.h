// Which study several processes share: those of a sweep, or of several runs of one spec.
#pragma once

#include <optional>
#include <string>

#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

struct StudySpec : Spec {
  std::optional<std::string> storage;  // sqlite:///FILE; none: this process alone
  std::optional<std::string> study_name;
  std::optional<double> trial_timeout;  // seconds
};
void describe(Fields& table, StudySpec& spec);
/// ConfigError where what goes with `storage` is given without it.
void check(const StudySpec& spec, const Fields& fields);

}  // namespace lowrank::recipes
