#include "lowrank/train/dpo.h"

#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/train/pairs.h"
#include "lowrank/train/sequences.h"

namespace lowrank::train {

Dpo::Dpo(Parts parts)
    : TextObjective(parts, parts.adapter, std::move(parts.train), 2),
      evaluation_(std::move(parts.evaluation)),
      loss_(parts.loss),
      beta_(parts.beta),
      router_aux_loss_(parts.router_aux_loss) {
  if (!(beta_ > 0) || !std::isfinite(beta_)) {
    throw ConfigError("`beta` must be more than 0, found " + std::to_string(beta_));
  }
  std::size_t examples = train().examples.size();
  for (const auto& [name, set] : evaluation_) examples += set.examples.size();
  if (parts.progress != nullptr) {
    parts.progress->begin("the reference's log-probabilities", static_cast<std::int64_t>(examples), "answers");
  }
  if (!parts.reference_is_start) adapter()->set_enabled(false);
  train_reference_ = answer_logps(decoder(), train().examples, sync(), parts.progress);
  for (const auto& [name, set] : evaluation_) {
    evaluation_reference_.push_back(answer_logps(decoder(), set.examples, sync(), parts.progress));
  }
  adapter()->set_enabled(true);
  if (parts.progress != nullptr) parts.progress->end();
}

PairLoss Dpo::judge(const data::Dataset& set, const std::vector<double>& reference, std::size_t pair, double chosen,
                    double rejected, MicroLoss& totals) const {
  const PairLogps logps = {chosen,
                           rejected,
                           reference[2 * pair],
                           reference[2 * pair + 1],
                           set.examples[2 * pair].counted(),
                           set.examples[2 * pair + 1].counted()};
  const PairLoss loss = pair_loss(logps, loss_, beta_);
  totals.value += loss.loss;
  ++totals.count;
  totals.metrics["rewards/chosen"] += loss.chosen_reward;
  totals.metrics["rewards/rejected"] += loss.rejected_reward;
  totals.metrics["rewards/accuracies"] += loss.chosen_reward > loss.rejected_reward ? 1 : 0;
  totals.metrics["rewards/margins"] += loss.chosen_reward - loss.rejected_reward;
  totals.metrics["logps/chosen"] += chosen;
  totals.metrics["logps/rejected"] += rejected;
  return loss;
}

double Dpo::reference_accuracy(std::size_t index) const {
  const std::vector<double>& logps = evaluation_reference_.at(index);
  double wins = 0;
  for (std::size_t i = 0; i + 1 < logps.size(); i += 2) wins += logps[i] > logps[i + 1] ? 1 : 0;
  return wins / static_cast<double>(logps.size() / 2);
}

MicroLoss Dpo::forward(std::int64_t step, std::int64_t micro) {
  const std::vector<std::uint32_t> pairs = items(step, micro);
  const at::Tensor states =
      hidden(step, micro, /*neftune=*/0, router_aux_loss_, static_cast<std::int64_t>(pairs.size()));
  const at::Tensor losses = decoder().token_losses(states, batch().labels, &dropout());
  MicroLoss result;
  if (router_aux_loss_ != 0) result.metrics["router_aux_loss"] = router_aux_loss();
  const std::vector<double> logps = totals(token_logps(losses, batch()));
  std::vector<double> slopes;  // of the loss by each answer's log-probability
  for (std::size_t k = 0; k < pairs.size(); ++k) {
    const PairLoss loss = judge(train(), train_reference_, pairs[k], logps[2 * k], logps[2 * k + 1], result);
    slopes.insert(slopes.end(), {loss.chosen_slope, loss.rejected_slope});
  }
  // The tangent of the loss at this point: its gradient is the loss's own; the value is ours, summed in order.
  result.loss_sum = tangent(losses, batch(), slopes);
  result.tokens = batch().segments.tokens();
  return result;
}

std::vector<EvalResult> Dpo::evaluate() {
  std::vector<EvalResult> results;
  for (std::size_t i = 0; i < evaluation_.size(); ++i) {
    const auto& [name, set] = evaluation_[i];
    const std::vector<double> logps = answer_logps(decoder(), set.examples, sync());
    MicroLoss totals;
    std::vector<double> losses;
    for (std::size_t pair = 0; 2 * pair < logps.size(); ++pair) {
      losses.push_back(
          judge(set, evaluation_reference_[i], pair, logps[2 * pair], logps[2 * pair + 1], totals).loss);
    }
    results.push_back(result_of_pairs(name, set, totals, "rewards/accuracies", losses));
  }
  return results;
}

}  // namespace lowrank::train
