#include "lowrank/train/reward_model.h"

#include <algorithm>
#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/train/pairs.h"
#include "lowrank/train/sequences.h"

namespace lowrank::train {

RewardPairLoss reward_pair_loss(double chosen, double rejected, double center, double wanted) {
  const double margin = chosen - rejected - wanted, sum = chosen + rejected;
  const double small = std::exp(-std::abs(margin));                         // never overflows
  const double wrong = margin > 0 ? small / (1 + small) : 1 / (1 + small);  // σ(−margin)
  return {std::max(-margin, 0.0) + std::log1p(small) + center * sum * sum, -wrong + 2 * center * sum,
          wrong + 2 * center * sum};
}

RewardModel::Parts::Parts(models::SequenceClassifier of) : classifier(std::move(of)) { decoder = classifier.decoder(); }

RewardModel::RewardModel(Parts parts)
    : TextObjective(parts, parts.adapter, std::move(parts.train), 2),
      classifier_(std::move(parts.classifier)),
      evaluation_(std::move(parts.evaluation)),
      center_(parts.center) {
  if (!(center_ >= 0) || !std::isfinite(center_)) {
    throw ConfigError("`center-rewards-coefficient` must be at least 0, found " + std::to_string(center_));
  }
  if (classifier_.labels() != 1) throw InternalError("a reward model has a score head of one label");
}

std::vector<double> RewardModel::judge(const data::Dataset& set, const std::vector<std::uint32_t>* pairs,
                                       const std::vector<double>& rewards, MicroLoss& totals, std::vector<double>* losses) const {
  std::vector<double> slopes;
  double lowest = rewards.front(), highest = rewards.front();
  for (std::size_t i = 0; i + 1 < rewards.size(); i += 2) {
    const double chosen = rewards[i], rejected = rewards[i + 1];
    const std::size_t pair = pairs == nullptr ? i / 2 : pairs->at(i / 2);
    const RewardPairLoss one =
        reward_pair_loss(chosen, rejected, center_, set.documents[set.examples.document(2 * pair)].margin);
    slopes.insert(slopes.end(), {one.chosen_slope, one.rejected_slope});
    totals.value += one.loss;
    if (losses != nullptr) losses->push_back(one.loss);
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

MicroLoss RewardModel::forward(std::int64_t step, std::int64_t micro) {
  const at::Tensor pooled = classifier_.pooled(hidden(step, micro), batch().segments);
  const std::vector<std::uint32_t> pairs = items(step, micro);
  MicroLoss result;
  result.loss_sum = classifier_.tangent(pooled, judge(train(), &pairs, classifier_.scores(pooled), result));
  result.tokens = batch().segments.tokens();
  return result;
}

std::vector<EvalResult> RewardModel::evaluate() {
  std::vector<EvalResult> results;
  for (const auto& [name, set] : evaluation_) {
    MicroLoss totals;
    std::vector<double> losses;
    judge(set, nullptr, text_scores(classifier_, set.examples, sync()), totals, &losses);
    results.push_back(result_of_pairs(name, set, totals, "accuracy", losses));
  }
  return results;
}

}  // namespace lowrank::train
