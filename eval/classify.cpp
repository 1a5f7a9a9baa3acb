#include "lowrank/eval/classify.h"

#include <numeric>

#include "lowrank/core/error.h"
#include "lowrank/kernels/class_loss.h"
#include "lowrank/kernels/host.h"

namespace lowrank::eval {

Classified classified(std::span<const double> scores, const std::vector<std::int64_t>& truth, std::int64_t labels) {
  const auto count = static_cast<std::int64_t>(truth.size());
  if (static_cast<std::size_t>(count * labels) != scores.size())
    throw InternalError("classified: a class for each text is expected");
  for (const std::int64_t label : truth)
    if (label < 0 || label >= labels) throw DataError("a text has a class that the score head lacks");
  const kernels::ClassLoss found = kernels::class_loss(kernels::from_host(scores, {count, labels}), truth);
  Classified result;
  result.nll = std::accumulate(found.losses.begin(), found.losses.end(), 0.0);
  result.predicted = found.predicted;
  result.scores = classification(truth, result.predicted, labels);
  result.nll /= static_cast<double>(truth.size());
  result.losses.assign(found.losses.begin(), found.losses.end());
  return result;
}

Classified classify(const models::SequenceClassifier& classifier, const data::Dataset& texts,
                    const std::vector<std::int64_t>& truth, std::int64_t batch_tokens,
                    core::ProgressObserver* progress) {
  return classified(models::score_texts(classifier, texts.examples, batch_tokens, progress), truth,
                    classifier.labels());
}

}  // namespace lowrank::eval
