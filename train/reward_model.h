// Reward models: one number for an answer, learned from preference pairs (Bradley and Terry 1952), as TRL's
// RewardTrainer does it.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/data/batch_torch.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/plan.h"
#include "lowrank/kernels/dropout.h"
#include "lowrank/models/load.h"
#include "lowrank/models/sequence_classifier.h"
#include "lowrank/train/objective.h"

namespace lowrank::train {

/// −log σ(r_chosen − r_rejected) + center · (r_chosen + r_rejected)² of a pair, and its slopes by both rewards.
struct RewardPairLoss {
  double loss = 0, chosen_slope = 0, rejected_slope = 0;
};
RewardPairLoss reward_pair_loss(double chosen, double rejected, double center);

/// A frozen decoder with an adapter that trains a score head of one label too; the reward of a prompt with its answer
/// is the score at its last token. The loss is the mean over the step's pairs. `adapter` and `weights` must outlive
/// this.
class RewardModel : public Objective {
 public:
  struct Parts {
    models::SequenceClassifier classifier;
    lora::Adapter* adapter = nullptr;
    const formats::WeightFiles* weights = nullptr;                       // for check_inputs(); may be null
    data::Dataset train = {};                                            // pairs, as data::load_preferences gives them
    std::vector<std::pair<std::string, data::Dataset>> evaluation = {};  // "validation" first where there is one
    data::PlanOptions plan = {};                                         // over pairs
    double center = 0;  // TRL's center_rewards_coefficient (Eisenstein et al. 2023, Eq. 2)
    bool recompute = false;
    std::uint64_t seed = 42;
  };
  /// ConfigError for a `center` below 0, InternalError for a head of several labels.
  explicit RewardModel(Parts parts);

  const data::Plan& plan() const { return plan_; }
  std::vector<lora::NamedTensor> parameters() override { return parts_.adapter->parameters(); }
  std::vector<lora::Factors> factors() override { return lora::factors_of(*parts_.adapter); }
  std::int64_t steps() const override { return plan_.steps(); }
  std::int64_t planned_tokens() const override { return plan_.total_tokens(); }
  double epoch_after(std::int64_t step) const override { return plan_.step(step).epoch; }
  std::int64_t micro_batches(std::int64_t step) const override;
  /// Its backward must come before the next call. Metrics, named as in TRL: accuracy, margin, mean_reward, min_reward
  /// and max_reward, the last two of a micro-batch, meaned over the step as TRL means them over batches.
  MicroLoss forward(std::int64_t step, std::int64_t micro) override;
  std::string describe(std::int64_t step) const override;
  /// The same metrics over the whole set, and the interval of the accuracy.
  std::vector<EvalResult> evaluate() override;
  bool has_validation() const override;
  void save(const std::filesystem::path& directory) override;
  void save_state(const std::filesystem::path& checkpoint) override;
  void load_state(const std::filesystem::path& checkpoint) override;
  void check_inputs() override;

 private:
  /// `rewards`: chosen and rejected of each pair in turn. The slopes by them.
  std::vector<double> judge(const std::vector<double>& rewards, MicroLoss& totals) const;

  Parts parts_;
  data::Plan plan_;
  // Of the last forward pass: with recomputation its backward reads them again.
  data::Batch batch_;
  kernels::DropoutContext dropout_;
};

}  // namespace lowrank::train
