// Options of a space as Optuna's tables have them: a number beside the description of its distribution.
#pragma once

#include <optional>
#include <string>

#include "lowrank/train/search_space.h"

namespace lowrank::train {

/// {"name": "FloatDistribution", "attributes": {...}}; a choice that is a list is the text of its values.
core::Json distribution_of(const Dimension& dimension);
/// The number that stands for a value: itself, or which of the choices.
double number_of(const Dimension& dimension, const core::Json& value);
/// The dimension's value that a number and the distribution beside it stand for; nothing where the dimension has none such.
std::optional<core::Json> value_of_number(const Dimension& dimension, double number, const core::Json& distribution);
/// The dimension's value that a person wrote in Python, as enqueue_trial takes it; nothing where it has none such.
std::optional<core::Json> value_of_words(const Dimension& dimension, const core::Json& written);

}  // namespace lowrank::train
