#include "lowrank/train/reward_model.h"

#include <algorithm>
#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/train/documents.h"
#include "lowrank/train/pairs.h"

namespace lowrank::train {

RewardPairLoss reward_pair_loss(double chosen, double rejected, double center) {
  const double margin = chosen - rejected, sum = chosen + rejected;
  const double small = std::exp(-std::abs(margin));                         // never overflows
  const double wrong = margin > 0 ? small / (1 + small) : 1 / (1 + small);  // σ(−margin)
  return {std::max(-margin, 0.0) + std::log1p(small) + center * sum * sum, -wrong + 2 * center * sum,
          wrong + 2 * center * sum};
}

RewardModel::RewardModel(Parts parts) : parts_(std::move(parts)), plan_(pair_lengths(parts_.train), parts_.plan) {
  if (!(parts_.center >= 0) || !std::isfinite(parts_.center)) {
    throw ConfigError("--center-rewards-coefficient must be at least 0, found " + std::to_string(parts_.center));
  }
  if (parts_.classifier.labels() != 1) throw InternalError("a reward model has a score head of one label");
}

std::vector<double> RewardModel::judge(const std::vector<double>& rewards, MicroLoss& totals) const {
  std::vector<double> slopes;
  double lowest = rewards.front(), highest = rewards.front();
  for (std::size_t i = 0; i + 1 < rewards.size(); i += 2) {
    const double chosen = rewards[i], rejected = rewards[i + 1];
    const RewardPairLoss one = reward_pair_loss(chosen, rejected, parts_.center);
    slopes.insert(slopes.end(), {one.chosen_slope, one.rejected_slope});
    totals.value += one.loss;
    ++totals.count;
    totals.metrics["accuracy"] += chosen > rejected ? 1 : 0;
    totals.metrics["margin"] += chosen - rejected;
    totals.metrics["mean_reward"] += 0.5 * (chosen + rejected);
    lowest = std::min({lowest, chosen, rejected});
    highest = std::max({highest, chosen, rejected});
  }
  totals.metrics["min_reward"] += lowest * static_cast<double>(totals.count);
  totals.metrics["max_reward"] += highest * static_cast<double>(totals.count);
  return slopes;
}

std::int64_t RewardModel::micro_batches(std::int64_t step) const {
  return static_cast<std::int64_t>(plan_.micro_batches(step).size());
}

MicroLoss RewardModel::forward(std::int64_t step, std::int64_t micro) {
  const auto& examples = parts_.train.examples;
  const auto batches = plan_.micro_batches(step);
  std::int64_t before = 0;  // dropout counts tokens by their place in the step
  for (std::int64_t m = 0; m < micro; ++m)
    before += tokens_of(examples, both_sides(batches[static_cast<std::size_t>(m)]));
  batch_ = data::make_batch(examples, both_sides(batches.at(static_cast<std::size_t>(micro))), before);
  dropout_ = {parts_.seed, static_cast<std::uint64_t>(step), batch_.token_in_step.data()};
  models::ForwardOptions options;
  options.dropout = &dropout_;
  options.recompute = parts_.recompute;
  const models::SequenceClassifier& classifier = parts_.classifier;
  const at::Tensor hidden = classifier.decoder()->hidden(batch_.ids, batch_.segments, options);
  const at::Tensor pooled = classifier.pooled(hidden, batch_.segments);
  MicroLoss result;
  result.loss_sum = classifier.tangent(pooled, judge(classifier.scores(pooled), result));
  result.tokens = batch_.segments.tokens();
  return result;
}

std::string RewardModel::describe(std::int64_t step) const {
  return documents_of(parts_.train, both_sides(plan_.step(step).examples));
}

std::vector<EvalResult> RewardModel::evaluate() {
  std::vector<EvalResult> results;
  for (const auto& [name, set] : parts_.evaluation) {
    MicroLoss totals;
    judge(models::score_texts(parts_.classifier, set.examples), totals);
    results.push_back(result_of_pairs(name, set, totals, "accuracy"));
  }
  return results;
}

bool RewardModel::has_validation() const {
  return !parts_.evaluation.empty() && parts_.evaluation.front().first == "validation";
}

void RewardModel::save(const std::filesystem::path& directory) { lora::save_peft(*parts_.adapter, directory); }

void RewardModel::save_state(const std::filesystem::path& checkpoint) {
  lora::save_initial(*parts_.adapter, checkpoint);
}

void RewardModel::load_state(const std::filesystem::path& checkpoint) {
  lora::load_initial(*parts_.adapter, checkpoint);
}

void RewardModel::check_inputs() {
  if (parts_.weights != nullptr) parts_.weights->check_unchanged();
}

}  // namespace lowrank::train
