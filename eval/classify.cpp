#include "lowrank/eval/classify.h"

#include <algorithm>
#include <cmath>

#include "lowrank/core/error.h"

namespace lowrank::eval {

ClassLoss class_loss(std::span<const double> scores, std::int64_t truth, double smoothing) {
  const auto best = std::max_element(scores.begin(), scores.end());
  const auto right = static_cast<std::size_t>(truth);
  const auto count = static_cast<double>(scores.size());
  double sum = 0, mean = 0;
  for (const double score : scores) {
    sum += std::exp(score - *best);
    mean += score / count;
  }
  const double log_sum = *best + std::log(sum);
  ClassLoss result;
  result.predicted = best - scores.begin();
  result.loss = log_sum - (1 - smoothing) * scores[right] - smoothing * mean;
  for (const double score : scores) result.slopes.push_back(std::exp(score - log_sum) - smoothing / count);
  result.slopes[right] -= 1 - smoothing;
  return result;
}

Classified classified(std::span<const double> scores, const std::vector<std::int64_t>& truth, std::int64_t labels) {
  const auto each = static_cast<std::size_t>(labels);
  if (truth.size() * each != scores.size()) throw InternalError("classified: a class for each text is expected");
  Classified result;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    if (truth[i] < 0 || truth[i] >= labels) throw DataError("a text has a class that the score head lacks");
    const ClassLoss one = class_loss(scores.subspan(i * each, each), truth[i]);
    result.nll += one.loss;
    result.predicted.push_back(one.predicted);
  }
  result.scores = classification(truth, result.predicted, labels);
  result.nll /= static_cast<double>(truth.size());
  return result;
}

Classified classify(const models::SequenceClassifier& classifier, const data::Dataset& texts,
                    const std::vector<std::int64_t>& truth, std::int64_t batch_tokens,
                    core::ProgressObserver* progress) {
  return classified(models::score_texts(classifier, texts.examples, batch_tokens, progress), truth,
                    classifier.labels());
}

}  // namespace lowrank::eval
