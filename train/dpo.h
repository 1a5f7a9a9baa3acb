// Direct preference optimisation (Rafailov et al. 2023): preferred answers made likelier than rejected ones, measured
// against a reference.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/data/batch_torch.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/plan.h"
#include "lowrank/kernels/dropout.h"
#include "lowrank/models/load.h"
#include "lowrank/train/dpo_loss.h"
#include "lowrank/train/objective.h"

namespace lowrank::train {

/// The policy is a frozen decoder with an adapter; the reference is the same weights, so there is one copy of the
/// model. The reference's log-probabilities are computed once, by the constructor, in batches that depend on the data
/// alone: a resumed run has the same bytes. The loss is the mean over the step's pairs. `adapter` and `weights` must
/// outlive this.
class Dpo : public Objective {
 public:
  struct Parts {
    models::Decoder decoder{nullptr};
    lora::Adapter* adapter = nullptr;
    const formats::WeightFiles* weights = nullptr;                  // for check_inputs(); may be null
    data::Dataset train;                                            // pairs, as data::load_preferences gives them
    std::vector<std::pair<std::string, data::Dataset>> evaluation;  // "validation" first where there is one
    data::PlanOptions plan;                                         // over pairs
    DpoLoss loss = DpoLoss::kSigmoid;
    double beta = 0.1;
    /// The reference is the adapter as it stands now (a run that goes on from a trained one), not the base alone.
    bool reference_is_start = false;
    bool recompute = false;
    std::uint64_t seed = 42;
    core::ProgressObserver* progress = nullptr;  // of the reference's pass
  };
  explicit Dpo(Parts parts);

  const data::Plan& plan() const { return plan_; }
  /// Share of the pairs of evaluation set `index` in which the reference itself gives the chosen answer the higher
  /// log-probability.
  double reference_accuracy(std::size_t index) const;

  std::vector<lora::NamedTensor> parameters() override { return parts_.adapter->parameters(); }
  std::int64_t steps() const override { return plan_.steps(); }
  std::int64_t planned_tokens() const override { return plan_.total_tokens(); }
  double epoch_after(std::int64_t step) const override { return plan_.step(step).epoch; }
  std::int64_t micro_batches(std::int64_t step) const override;
  /// Its backward must come before the next call. Metrics, named as in TRL: rewards/chosen, rewards/rejected,
  /// rewards/accuracies, rewards/margins, logps/chosen, logps/rejected.
  MicroLoss forward(std::int64_t step, std::int64_t micro) override;
  std::string describe(std::int64_t step) const override;
  std::vector<EvalResult> evaluate() override;
  bool has_validation() const override;
  void save(const std::filesystem::path& directory) override;
  void check_inputs() override;

 private:
  /// Log-probabilities of the answers of every example of a set, in its order.
  std::vector<double> answer_logps(const data::Dataset& set);
  PairLoss judge(const data::Dataset& set, const std::vector<double>& reference, std::size_t pair, double chosen,
                 double rejected, MicroLoss& totals) const;

  Parts parts_;
  data::Plan plan_;
  std::vector<double> train_reference_;
  std::vector<std::vector<double>> evaluation_reference_;
  // Of the last forward pass: with recomputation its backward reads them again.
  data::Batch batch_;
  kernels::DropoutContext dropout_;
};

}  // namespace lowrank::train
