// Direct preference optimisation (Rafailov et al. 2023): preferred answers made likelier than rejected ones, measured
// against a reference.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/train/dpo_loss.h"
#include "lowrank/train/text_objective.h"

namespace lowrank::train {

/// The policy is a frozen decoder with an adapter; the reference is the same weights, so there is one copy of the
/// model. The reference's log-probabilities are computed once, by the constructor, in batches that depend on the data
/// alone: a resumed run has the same bytes. The loss is the mean over the step's pairs. `adapter` and `weights` must
/// outlive this.
class Dpo : public TextObjective {
 public:
  struct Parts : TextParts {  // the plan is over pairs
    lora::Adapter* adapter = nullptr;
    data::Dataset train;                                            // pairs, as data::load_preferences gives them
    std::vector<std::pair<std::string, data::Dataset>> evaluation;  // "validation" first where there is one
    DpoLoss loss = DpoLoss::kSigmoid;
    double beta = 0.1;
    double router_aux_loss = 0;  // weight of the load-balancing loss of a mixture's routers, in each micro-batch
    /// The reference is the adapter as it stands now (a run that goes on from a trained one), not the base alone.
    bool reference_is_start = false;
    core::ProgressObserver* progress = nullptr;  // of the reference's pass
  };
  explicit Dpo(Parts parts);

  /// Share of the pairs of evaluation set `index` in which the reference itself gives the chosen answer the higher
  /// log-probability.
  double reference_accuracy(std::size_t index) const;

  /// Its backward must come before the next call. Metrics, named as in TRL: rewards/chosen, rewards/rejected,
  /// rewards/accuracies, rewards/margins, logps/chosen, logps/rejected; router_aux_loss where it has a weight.
  MicroLoss forward(std::int64_t step, std::int64_t micro) override;
  std::vector<EvalResult> evaluate() override;
  bool has_validation() const override { return begins_with_validation(evaluation_); }

 private:
  PairLoss judge(const data::Dataset& set, const std::vector<double>& reference, std::size_t pair, double chosen,
                 double rejected, MicroLoss& totals) const;

  std::vector<std::pair<std::string, data::Dataset>> evaluation_;
  DpoLoss loss_;
  double beta_, router_aux_loss_;
  std::vector<double> train_reference_;
  std::vector<std::vector<double>> evaluation_reference_;
};

}  // namespace lowrank::train
