#include "lowrank/train/classification.h"

#include "lowrank/eval/proportion.h"
#include "lowrank/kernels/class_loss.h"
#include "lowrank/kernels/host.h"
#include "lowrank/models/load_classifier.h"
#include "lowrank/train/sequences.h"

namespace lowrank::train {

Classification::Parts::Parts(models::SequenceClassifier of) : classifier(std::move(of)) {
  decoder = classifier.decoder();
}

Classification::Classification(Parts parts)
    : TextObjective(parts, parts.adapter, std::move(parts.train.texts)),
      classifier_(std::move(parts.classifier)),
      labels_(std::move(parts.labels)),
      classes_(std::move(parts.train.classes)),
      evaluation_(std::move(parts.evaluation)),
      label_smoothing_(parts.label_smoothing),
      neftune_(parts.neftune) {}

MicroLoss Classification::forward(std::int64_t step, std::int64_t micro) {
  const std::vector<std::uint32_t> texts = items(step, micro);
  const at::Tensor pooled = classifier_.pooled(hidden(step, micro, neftune_), batch().segments);
  MicroLoss result;
  result.count = static_cast<std::int64_t>(texts.size());
  std::vector<std::int64_t> truth;
  for (const std::uint32_t text : texts) truth.push_back(classes_[text]);
  const at::Tensor scores =
      kernels::from_host<double>(classifier_.scores(pooled), {result.count, classifier_.labels()});
  const kernels::ClassLoss found = kernels::class_loss(scores, truth, label_smoothing_);
  for (std::size_t k = 0; k < truth.size(); ++k) {
    result.value += found.losses[k];
    result.metrics["accuracy"] += found.predicted[k] == truth[k] ? 1 : 0;
  }
  result.loss_sum = classifier_.tangent(pooled, kernels::to_host<double>(found.gradient));
  result.tokens = batch().segments.tokens();
  return result;
}

eval::Classified Classification::classified(std::size_t index) const {
  const Set& set = evaluation_.at(index).second;
  return eval::classified(text_scores(classifier_, set.texts.examples, sync()), set.classes, classifier_.labels());
}

std::vector<EvalResult> Classification::evaluate() {
  std::vector<EvalResult> results;
  for (std::size_t i = 0; i < evaluation_.size(); ++i) {
    const auto& [name, set] = evaluation_[i];
    const eval::Classified found = classified(i);
    const auto texts = static_cast<std::int64_t>(found.predicted.size());
    std::int64_t hits = 0;
    for (std::size_t k = 0; k < found.predicted.size(); ++k) hits += found.predicted[k] == set.classes[k] ? 1 : 0;
    const eval::Proportion right = eval::proportion(hits, texts);
    EvalResult result{name, found.nll, set.texts.report.tokens, {}};
    result.metrics = {{"accuracy", found.scores.accuracy},
                      {"accuracy_low", right.low},
                      {"accuracy_high", right.high},
                      {"macro_f1", found.scores.macro_f1},
                      {"matthews", found.scores.matthews}};
    for (const double loss : found.losses) result.units.push_back({loss, 1});
    results.push_back(std::move(result));
  }
  return results;
}

void Classification::save(const std::filesystem::path& directory) {
  TextObjective::save(directory);
  models::write_labels(directory, labels_);
}

}  // namespace lowrank::train
