// A sequence classifier over labelled texts.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/data/dataset.h"
#include "lowrank/eval/classification.h"
#include "lowrank/models/sequence_classifier.h"

namespace lowrank::eval {

struct Classified {
  double nll = 0;  // mean over the texts
  std::vector<double> losses;
  std::vector<std::int64_t> predicted;
  Classification scores;
};
/// From the scores [texts * labels] and the class of each text. DataError for a class outside the labels.
Classified classified(std::span<const double> scores, const std::vector<std::int64_t>& truth, std::int64_t labels);
/// `truth`: a class for each example. DataError where there is no text, or a class is outside the classifier's.
Classified classify(const models::SequenceClassifier& classifier, const data::Dataset& texts,
                    const std::vector<std::int64_t>& truth, std::int64_t batch_tokens = 2048,
                    core::ProgressObserver* progress = nullptr);

}  // namespace lowrank::eval
