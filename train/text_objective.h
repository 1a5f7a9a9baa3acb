// What every objective over text shares: the decoder and its adapter, the plan of steps and this rank's part of it,
// dropout's place, saving, and the inputs that must not change.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/data/batch_torch.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/plan.h"
#include "lowrank/formats/safetensors.h"
#include "lowrank/kernels/dropout.h"
#include "lowrank/models/decoder.h"
#include "lowrank/train/grad_sync.h"
#include "lowrank/train/objective.h"

namespace lowrank::train {

/// Fields that the Parts of every text objective have. What is pointed to must outlive the objective.
struct TextParts {
  models::Decoder decoder{nullptr};
  const formats::WeightFiles* weights = nullptr;  // for check_inputs(); may be null
  data::PlanOptions plan = {};                    // `ranks` is taken from `sync`
  models::Recompute recompute = false;
  std::uint64_t seed = 42;
  GradSync* sync = nullptr;  // the other ranks, those of the trainer; null: one rank
  std::function<void(const std::filesystem::path&)> save_extra = {};  // model card and the like, beside the adapter
  data::Lengths lengths = {};  // item_lengths() of the training data, where the caller has them
};

/// Tokens of each item that a plan deals, an item being `each` examples that follow each other.
data::Lengths item_lengths(const data::Examples& examples, std::uint32_t each = 1);

class TextObjective : public Objective {
 public:
  const data::Plan& plan() const { return plan_; }
  std::vector<lora::NamedTensor> parameters() override { return adapter_->parameters(); }
  std::vector<lora::Factors> factors() override;
  std::vector<Penalised> penalised() override;
  std::int64_t steps() const override { return plan_.steps(); }
  std::int64_t planned_tokens() const override { return plan_.total_tokens(); }
  double epoch_after(std::int64_t step) const override { return plan_.step(step).epoch; }
  int batch_ranks() const override { return plan_.batch_ranks(); }
  /// Those of this rank.
  std::int64_t micro_batches(std::int64_t step) const override;
  std::string describe(std::int64_t step) const override;
  void save(const std::filesystem::path& directory) override;
  void save_state(const std::filesystem::path& checkpoint) override;
  void load_state(const std::filesystem::path& checkpoint) override;
  void check_inputs() override;

 protected:
  /// The plan's items are `each` examples of `train` that follow each other: 1, or 2 for pairs. `adapter`: what is
  /// trained; null where it is the decoder itself.
  TextObjective(TextParts parts, lora::Adapter* adapter, data::Dataset train, std::uint32_t each = 1);

  models::DecoderImpl& decoder() const { return *parts_.decoder; }
  lora::Adapter* adapter() const { return adapter_; }
  const data::Dataset& train() const { return train_; }
  GradSync& sync() const { return sync_; }
  std::uint64_t seed() const { return parts_.seed; }

  /// What the caller saves beside an adapter or a model.
  void save_beside(const std::filesystem::path& directory) const;
  /// The plan's items of a micro-batch of this rank.
  std::vector<std::uint32_t> items(std::int64_t step, std::int64_t micro) const;
  /// The final hidden states [T, d] of a micro-batch of this rank, in training; batch() and dropout() are its own until
  /// the next call, before which its backward must come.
  /// `count`: what the micro-batch's loss is a sum over, which the routers' loss is weighed with; 0: counted tokens.
  at::Tensor hidden(std::int64_t step, std::int64_t micro, double neftune = 0, double router_aux_loss = 0,
                    std::int64_t count = 0);
  /// Whether the losses of tokens follow on hidden().
  virtual bool makes_logits() const { return true; }
  /// The load-balancing loss of the routers in the last such pass, times that count; 0 where none was asked for.
  double router_aux_loss() const;
  /// The same of a batch that was made otherwise, without dropout, with the adapters that are on; take() comes first.
  /// `logits`: the losses of tokens follow, and not values alone.
  at::Tensor hidden_of_batch(bool logits);
  void take(data::Batch batch) { batch_ = std::move(batch); }
  const data::Batch& batch() const { return batch_; }
  const kernels::DropoutContext& dropout() const { return dropout_; }

 private:
  at::Tensor room_for_logits() const;
  std::vector<std::uint32_t> examples_of(const std::vector<std::uint32_t>& items) const;

  TextParts parts_;
  lora::Adapter* adapter_;
  GradSync& sync_;
  data::Dataset train_;
  data::ReadAlong along_;
  std::uint32_t each_;
  data::Plan plan_;
  // Of the last forward pass: with recomputation its backward reads them again.
  data::Batch batch_;
  kernels::DropoutContext dropout_;
  std::shared_ptr<kernels::RouterBalance> balance_;
  std::int64_t balance_count_ = 0;
};

/// Whether the first of these evaluation sets is the one that the best checkpoint and early stopping go by.
template <typename Set>
bool begins_with_validation(const std::vector<std::pair<std::string, Set>>& evaluation) {
  return !evaluation.empty() && evaluation.front().first == "validation";
}

}  // namespace lowrank::train
