// Classes of texts: cross-entropy of the label by a score head over the decoder.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/data/batch_torch.h"
#include "lowrank/data/labelled.h"
#include "lowrank/data/plan.h"
#include "lowrank/eval/classify.h"
#include "lowrank/kernels/dropout.h"
#include "lowrank/models/load.h"
#include "lowrank/models/sequence_classifier.h"
#include "lowrank/train/objective.h"

namespace lowrank::train {

/// A frozen decoder with an adapter that trains a score head too. The loss is the mean over the step's texts. `adapter`
/// and `weights` must outlive this.
class Classification : public Objective {
 public:
  struct Set {
    data::Dataset texts;
    std::vector<std::int64_t> classes;  // of each example
  };
  struct Parts {
    models::SequenceClassifier classifier;
    lora::Adapter* adapter = nullptr;
    const formats::WeightFiles* weights = nullptr;  // for check_inputs(); may be null
    std::vector<std::string> labels = {};           // names, saved beside the adapter
    Set train = {};
    std::vector<std::pair<std::string, Set>> evaluation = {};  // "validation", or none
    data::PlanOptions plan = {};
    bool recompute = false;
    double label_smoothing = 0;  // of the training loss; evaluation has none
    double neftune = 0;
    std::uint64_t seed = 42;
  };
  explicit Classification(Parts parts);

  const data::Plan& plan() const { return plan_; }
  /// Predictions for an evaluation set with what is trained now.
  eval::Classified classified(std::size_t index) const;

  std::vector<lora::NamedTensor> parameters() override { return parts_.adapter->parameters(); }
  std::vector<lora::Factors> factors() override { return lora::factors_of(*parts_.adapter); }
  std::int64_t steps() const override { return plan_.steps(); }
  std::int64_t planned_tokens() const override { return plan_.total_tokens(); }
  double epoch_after(std::int64_t step) const override { return plan_.step(step).epoch; }
  std::int64_t micro_batches(std::int64_t step) const override;
  /// Its backward must come before the next call. Metric: accuracy.
  MicroLoss forward(std::int64_t step, std::int64_t micro) override;
  std::string describe(std::int64_t step) const override;
  /// Metrics: accuracy (with its interval), macro_f1, matthews.
  std::vector<EvalResult> evaluate() override;
  bool has_validation() const override;
  void save(const std::filesystem::path& directory) override;
  void save_state(const std::filesystem::path& checkpoint) override;
  void load_state(const std::filesystem::path& checkpoint) override;
  void check_inputs() override;

 private:
  Parts parts_;
  data::Plan plan_;
  // Of the last forward pass: with recomputation its backward reads them again.
  data::Batch batch_;
  kernels::DropoutContext dropout_;
};

}  // namespace lowrank::train
