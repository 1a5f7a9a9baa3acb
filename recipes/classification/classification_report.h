// What is said of a classifier's predictions: scores, chance, confusion matrix.
#pragma once

#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/eval/classify.h"
#include "lowrank/eval/report.h"

namespace lowrank::recipes {

/// Labels with their share: "art 120 (52.2 %), fiction 110 (47.8 %)"; the largest twelve where there are more.
std::string class_counts(const std::vector<std::string>& labels, const std::vector<std::int64_t>& counts);

/// The accuracy of always saying one class, given the examples of each class.
double accuracy_of_one(const std::vector<std::int64_t>& counts, std::size_t said);

/// {"texts", "nll", "accuracy", "accuracy_ci", "macro_f1", "matthews", "labels", "confusion", "classes": {name: {…}}}
core::Json to_json(const eval::Classified& found, const std::vector<std::string>& labels);

/// Rows are the truth, columns the predictions; beside each row what the class scores. At most `kShownLabels` classes.
eval::ReportTable confusion_table(const eval::Classified& found, const std::vector<std::string>& labels);
inline constexpr std::size_t kShownLabels = 20;
/// The same as text, with the words around it.
std::string confusion_text(const eval::Classified& found, const std::vector<std::string>& labels);

}  // namespace lowrank::recipes
