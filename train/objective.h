// What a run learns. The loop never sees tokens, so images, preference pairs and rollouts will fit too.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/core/progress.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/lora/update_norms.h"
#include "lowrank/train/metrics.h"

namespace lowrank::train {

/// The result of a micro-batch's forward pass.
struct MicroLoss {
  at::Tensor loss_sum;      // scalar, to be differentiated
  double value = 0;         // the same sum, added up in a fixed order in double, but for what is unread
  std::int64_t count = 0;   // what the sum is divided by, over the whole step (counted tokens)
  std::int64_t tokens = 0;  // all tokens that were computed, for tokens/s
  Metrics metrics = {};     // sums, as `value`: the step's row has them divided by the step's count
  at::Tensor unread = {};   // fp32: losses of which `value` lacks the sum, since reading them waits for a device
};

struct StepTotals;

/// A step's micro-batches, forward and backward, in order. What has to be waited for is read when all of them are under way, so that
/// a device has the next one while it works on the first.
class MicroBatches {
 public:
  /// Adds the micro-batch's gradients to those that are there.
  void differentiate(MicroLoss loss);
  /// The sums of all so far are added to `totals`.
  void add_to(StepTotals& totals) const;

 private:
  std::vector<MicroLoss> done_;
};

/// What one unit of a set (a piece of text, a pair, a picture) adds to its loss, which is sum(loss) / sum(weight).
struct UnitLoss {
  double loss = 0;
  std::int64_t weight = 1;
};

struct EvalResult {
  std::string split;  // "validation", "general"
  double loss = 0;    // mean nats a token, or the objective's own loss where there are metrics
  std::int64_t tokens = 0;
  Metrics metrics = {};              // further measures; "x_low" and "x_high" bound "x" with 95 % confidence
  std::vector<UnitLoss> units = {};  // in the set's order, so that two evaluations can be paired; empty: not kept
};

/// For checkpoints; every number comes back as it was, but for the units of a set of more than 4,096.
core::Json to_json(const std::vector<EvalResult>& results);
std::vector<EvalResult> evaluation_from_json(const core::Json& json);

/// A parameter that an L1 or L2 penalty acts on.
struct Penalised {
  at::Tensor parameter;    // one of parameters()
  at::Tensor origin = {};  // what it is pulled to; undefined: 0
};

class Objective {
 public:
  virtual ~Objective() = default;
  /// Trainable tensors, in a fixed order, with the names under which they are saved.
  virtual std::vector<lora::NamedTensor> parameters() = 0;
  /// The factors of the adapted layers, for the penalties on ΔW; empty where what is trained is no low-rank adapter.
  virtual std::vector<lora::Factors> factors() { return {}; }
  /// What L1 and L2 act on: A and B of adapters, and what is trained where there are none. Never DoRA's magnitudes or
  /// trained copies; and of an adapter that begins with a part of the base, what was added to it.
  virtual std::vector<Penalised> penalised();
  /// Called after the trainer moved the parameters into its flat buffer.
  virtual void parameters_moved() {}
  virtual std::int64_t steps() const = 0;
  /// Tokens of all steps together; 0: not known beforehand.
  virtual std::int64_t planned_tokens() const { return 0; }
  virtual double epoch_after(std::int64_t step) const = 0;  // step from 0
  /// Ranks whose micro-batches a step takes, which decides what it learns from; 0: as many as there are.
  virtual int batch_ranks() const { return 0; }
  /// Of this rank; with several ranks one may have none.
  virtual std::int64_t micro_batches(std::int64_t step) const = 0;
  /// Called once a step before its first micro-batch, on every rank: the place for what the ranks do together.
  virtual void prepare(std::int64_t /*step*/) {}
  virtual MicroLoss forward(std::int64_t step, std::int64_t micro) = 0;
  /// The metrics of a step as they will be logged, on every rank: the place for those that are no means of sums.
  virtual void complete_metrics(std::int64_t /*step*/, Metrics& /*metrics*/) {}
  /// In words, the documents of a step ("corpus.txt, train.jsonl line 12"), for a run that stops on NaN.
  virtual std::string describe(std::int64_t step) const = 0;
  /// Evaluation sets; the first is the one that the best checkpoint and early stopping go by. Empty: none.
  virtual std::vector<EvalResult> evaluate() = 0;
  /// The same sets in whole, where evaluate() measures a part of them; empty where that is the whole.
  virtual std::vector<EvalResult> evaluate_whole() { return {}; }
  /// Who hears how far an evaluation is; null: nobody.
  void watch_evaluation(core::ProgressObserver* progress) { progress_ = progress; }
  virtual bool has_validation() const = 0;
  /// The adapter (or model) into a folder, as a user of PEFT (or transformers) would load it. On rank 0 alone, as
  /// save_state: neither may wait for other ranks.
  virtual void save(const std::filesystem::path& directory) = 0;
  /// What a resumed run needs beside the parameters and the optimiser (a beginning, rollouts), into a checkpoint's
  /// folder and back.
  virtual void save_state(const std::filesystem::path& /*checkpoint*/) {}
  virtual void load_state(const std::filesystem::path& /*checkpoint*/) {}
  /// Throws when a file that is in use (base weights) is no longer the one that was opened.
  virtual void check_inputs() {}

 protected:
  core::ProgressObserver* evaluation_progress() const { return progress_; }

 private:
  core::ProgressObserver* progress_ = nullptr;
};

}  // namespace lowrank::train
