// Causal language modelling and completion: cross-entropy of the learned tokens.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/data/batch_torch.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/plan.h"
#include "lowrank/kernels/dropout.h"
#include "lowrank/models/load.h"
#include "lowrank/train/objective.h"

namespace lowrank::train {

/// Either an adapter on a frozen decoder, or (adapter == nullptr) every weight of it. `adapter`, `tokenizer` and
/// `weights` must outlive this.
class CausalLm : public Objective {
 public:
  struct Parts {
    models::Decoder decoder{nullptr};
    lora::Adapter* adapter = nullptr;
    const data::Tokenizer* tokenizer = nullptr;     // for save() of a full model
    const formats::WeightFiles* weights = nullptr;  // for check_inputs(); null for pretraining
    data::Dataset train;
    std::vector<std::pair<std::string, data::Dataset>>
        evaluation;  // "validation" first where there is one; "general" …
    data::PlanOptions plan;
    bool recompute = false;
    at::ScalarType save_dtype = at::kFloat;  // of a full model's file
    double label_smoothing = 0;              // of the training loss; evaluation has none
    double neftune = 0;                      // α of the noise on the embeddings in training
    std::uint64_t seed = 42;
    std::function<void(const std::filesystem::path&)> save_extra;  // model card and the like, beside the adapter
  };
  explicit CausalLm(Parts parts);

  const data::Plan& plan() const { return plan_; }
  std::vector<lora::NamedTensor> parameters() override;
  std::vector<lora::Factors> factors() override;
  void parameters_moved() override;
  std::int64_t steps() const override { return plan_.steps(); }
  std::int64_t planned_tokens() const override { return plan_.total_tokens(); }
  double epoch_after(std::int64_t step) const override { return plan_.step(step).epoch; }
  std::int64_t micro_batches(std::int64_t step) const override;
  /// Its backward must come before the next call.
  MicroLoss forward(std::int64_t step, std::int64_t micro) override;
  std::string describe(std::int64_t step) const override;
  std::vector<EvalResult> evaluate() override;
  /// The loss, as evaluate() has it, on examples of the training data spread evenly over it, of about so many tokens.
  EvalResult evaluate_train(std::int64_t tokens);
  bool has_validation() const override;
  /// The validation data; null where there is none.
  const data::Dataset* validation() const { return has_validation() ? &parts_.evaluation.front().second : nullptr; }
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
