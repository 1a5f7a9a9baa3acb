#include "lowrank/train/classification.h"

#include <span>

#include "lowrank/core/error.h"
#include "lowrank/eval/proportion.h"
#include "lowrank/models/load_classifier.h"
#include "lowrank/train/documents.h"

namespace lowrank::train {
namespace {

std::vector<std::int64_t> lengths_of(const std::vector<data::Example>& examples) {
  std::vector<std::int64_t> lengths;
  lengths.reserve(examples.size());
  for (const data::Example& example : examples) lengths.push_back(static_cast<std::int64_t>(example.ids.size()));
  return lengths;
}

}  // namespace

Classification::Classification(Parts parts)
    : parts_(std::move(parts)), plan_(lengths_of(parts_.train.texts.examples), parts_.plan) {}

std::int64_t Classification::micro_batches(std::int64_t step) const {
  return static_cast<std::int64_t>(plan_.micro_batches(step).size());
}

MicroLoss Classification::forward(std::int64_t step, std::int64_t micro) {
  const auto& examples = parts_.train.texts.examples;
  const auto batches = plan_.micro_batches(step);
  const auto& texts = batches.at(static_cast<std::size_t>(micro));
  std::int64_t before = 0;  // dropout counts tokens by their place in the step
  for (std::int64_t m = 0; m < micro; ++m) {
    for (const std::uint32_t i : batches[static_cast<std::size_t>(m)])
      before += static_cast<std::int64_t>(examples[i].ids.size());
  }
  batch_ = data::make_batch(examples, texts, before);
  dropout_ = {parts_.seed, static_cast<std::uint64_t>(step), batch_.token_in_step.data()};
  models::ForwardOptions options;
  options.dropout = &dropout_;
  options.recompute = parts_.recompute;
  options.neftune = parts_.neftune;
  const models::SequenceClassifier& classifier = parts_.classifier;
  const at::Tensor hidden = classifier.decoder()->hidden(batch_.ids, batch_.segments, options);
  const at::Tensor pooled = classifier.pooled(hidden, batch_.segments);
  const std::vector<double> scores = classifier.scores(pooled);

  MicroLoss result;
  std::vector<double> slopes;
  const auto labels = static_cast<std::size_t>(classifier.labels());
  for (std::size_t k = 0; k < texts.size(); ++k) {
    const std::int64_t truth = parts_.train.classes[texts[k]];
    const eval::ClassLoss one =
        eval::class_loss(std::span(scores).subspan(k * labels, labels), truth, parts_.label_smoothing);
    result.value += one.loss;
    result.metrics["accuracy"] += one.predicted == truth ? 1 : 0;
    slopes.insert(slopes.end(), one.slopes.begin(), one.slopes.end());
  }
  result.loss_sum = classifier.tangent(pooled, slopes);
  result.count = static_cast<std::int64_t>(texts.size());
  result.tokens = batch_.segments.tokens();
  return result;
}

std::string Classification::describe(std::int64_t step) const {
  return documents_of(parts_.train.texts, plan_.step(step).examples);
}

eval::Classified Classification::classified(std::size_t index) const {
  const Set& set = parts_.evaluation.at(index).second;
  return eval::classify(parts_.classifier, set.texts, set.classes);
}

std::vector<EvalResult> Classification::evaluate() {
  std::vector<EvalResult> results;
  for (std::size_t i = 0; i < parts_.evaluation.size(); ++i) {
    const auto& [name, set] = parts_.evaluation[i];
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
    results.push_back(std::move(result));
  }
  return results;
}

bool Classification::has_validation() const {
  return !parts_.evaluation.empty() && parts_.evaluation.front().first == "validation";
}

void Classification::save(const std::filesystem::path& directory) {
  lora::save_peft(*parts_.adapter, directory);
  models::write_labels(directory, parts_.labels);
}

void Classification::save_state(const std::filesystem::path& checkpoint) {
  lora::save_initial(*parts_.adapter, checkpoint);
}

void Classification::load_state(const std::filesystem::path& checkpoint) {
  lora::load_initial(*parts_.adapter, checkpoint);
}

void Classification::check_inputs() {
  if (parts_.weights != nullptr) parts_.weights->check_unchanged();
}

}  // namespace lowrank::train
