// Reward models: one number for an answer, learned from preference pairs (Bradley and Terry 1952), as TRL's
// RewardTrainer does it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lowrank/models/sequence_classifier.h"
#include "lowrank/train/text_objective.h"

namespace lowrank::train {

/// −log σ(r_chosen − r_rejected − wanted) + center · (r_chosen + r_rejected)² of a pair, and its slopes by both rewards.
/// `wanted`: the pair's margin (Touvron et al. 2023, Eq. 2).
struct RewardPairLoss {
  double loss = 0, chosen_slope = 0, rejected_slope = 0;
};
RewardPairLoss reward_pair_loss(double chosen, double rejected, double center, double wanted = 0);

/// A frozen decoder with an adapter that trains a score head of one label too; the reward of a prompt with its answer
/// is the score at its last token. The loss is the mean over the step's pairs. `adapter` and `weights` must outlive
/// this.
class RewardModel : public TextObjective {
 public:
  struct Parts : TextParts {  // the plan is over pairs
    explicit Parts(models::SequenceClassifier of);
    models::SequenceClassifier classifier;
    lora::Adapter* adapter = nullptr;
    data::Dataset train = {};                                            // pairs, as data::load_preferences gives them
    std::vector<std::pair<std::string, data::Dataset>> evaluation = {};  // "validation" first where there is one
    double center = 0;  // TRL's center_rewards_coefficient (Eisenstein et al. 2023, Eq. 2)
  };
  /// ConfigError for a `center` below 0, InternalError for a head of several labels.
  explicit RewardModel(Parts parts);

  /// Its backward must come before the next call. Metrics, named as in TRL: accuracy, margin, mean_reward, min_reward
  /// and max_reward, the last two of a micro-batch, meaned over the step as TRL means them over batches.
  MicroLoss forward(std::int64_t step, std::int64_t micro) override;
  /// The same metrics over the whole set, and the interval of the accuracy.
  std::vector<EvalResult> evaluate() override;
  bool has_validation() const override { return begins_with_validation(evaluation_); }

 private:
  bool makes_logits() const override { return false; }
  /// `rewards`: chosen and rejected in turn, of these pairs of `set`, or of all. The slopes by them. `losses`: those of
  /// the pairs, in order.
  std::vector<double> judge(const data::Dataset& set, const std::vector<std::uint32_t>* pairs, const std::vector<double>& rewards,
                            MicroLoss& totals, std::vector<double>* losses = nullptr) const;

  models::SequenceClassifier classifier_;
  std::vector<std::pair<std::string, data::Dataset>> evaluation_;
  double center_;
};

}  // namespace lowrank::train
