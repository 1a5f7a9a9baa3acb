// The training loop: one readable file (trainer.cpp).
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/core/progress.h"
#include "lowrank/train/delta_penalties.h"
#include "lowrank/train/grad_sync.h"
#include "lowrank/train/objective.h"
#include "lowrank/train/schedule.h"
#include "lowrank/train/spikes.h"

namespace lowrank::train {

struct TrainOptions {
  double lr = 2e-4;
  bool lr_auto = false;  // chosen by a range test (rate_test.h); `lr` is the fallback
  Schedule schedule = Schedule::kCosine;
  double warmup = 0.03;
  double clip = 1.0;  // 0: off
  double weight_decay = 0;
  double lora_plus_ratio = 1;  // LoRA+ (Hayou et al. 2024): the rate of lora_B and of vectors is lr times this
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double l1 = 0;                    // proximal step after the optimiser: p <- sign(p)·max(|p| - lr·l1, 0)
  double l2 = 0;                    // gradient of l2/2·‖p‖² added once a step; of both p: Objective::penalised
  DeltaPenalties delta;             // on ΔW and its factors
  double max_delta_norm = 0;        // cap on ‖ΔW‖_F of a layer, by projection after the step; 0: off
  double ema = 0;                   // decay of the average that is evaluated and saved as the result; 0: off
  std::int64_t eval_every = 0;      // steps; 0: ten a run
  std::int64_t early_stopping = 0;  // evaluations without a gain in validation loss; 0: off
  double min_gain = 0;              // nats a token below the best so far that early stopping counts as a gain
  OnSpike on_spike = OnSpike::kIgnore;  // a loss or gradient far from those before; what is not finite always stops
  std::int64_t save_every = 0;      // steps; 0: five a run
  std::int64_t keep_last = 2;
  /// A finished run of a constant rate goes on: how many steps there are may differ from the checkpoint's.
  bool longer = false;
};

struct StepMetrics {
  std::int64_t step = 0;  // from 1
  double epoch = 0, loss = 0, lr = 0, grad_norm = 0, penalty = 0;
  std::int64_t tokens = 0;  // so far
  double tokens_per_second = 0;
  std::int64_t peak_rss_bytes = 0;
  bool left_out = false;  // a spike: nothing was learned of it
  Metrics metrics;        // the objective's own
};

/// What the app draws.
class TrainObserver {
 public:
  virtual ~TrainObserver() = default;
  /// Before on_start(): evaluations come every so many steps, and after the last.
  virtual void on_evaluations(std::int64_t /*every*/) {}
  virtual void on_start(std::int64_t /*first_step*/, std::int64_t /*steps*/) {}
  virtual void on_micro(std::int64_t /*step*/, std::int64_t /*micro*/, std::int64_t /*of*/) {}
  virtual void on_step(const StepMetrics&) {}
  virtual void on_eval_begin(std::int64_t /*step*/) {}
  virtual void on_eval(std::int64_t /*step*/, const std::vector<EvalResult>&, bool /*best*/) {}
  /// Of the start, and of what is at the top of `out` in the end, where evaluations on the way measure a part.
  virtual void on_whole_eval(std::int64_t /*step*/, const std::vector<EvalResult>&) {}
  /// Hears how far an evaluation is; may be null.
  virtual core::ProgressObserver* evaluation_progress() { return nullptr; }
  virtual void on_checkpoint(const std::filesystem::path&) {}
  virtual void on_note(const std::string&) {}
  /// Asked after every evaluation, and when a run is gone on with: whether to end it here, as early stopping would.
  virtual bool stops_here() { return false; }
};

struct TrainResult {
  enum class Stop { kFinished, kEarly, kSignal } stop = Stop::kFinished;
  int signal = 0;
  std::int64_t steps = 0;  // completed
  std::int64_t tokens = 0;
  double seconds = 0;          // training, evaluation left out, those before a resumption included
  std::int64_t best_step = 0;  // 0: before training
  std::optional<double> best_loss;
  double exact_zeros = 0;                 // share of what l1 acts on that it holds at exactly 0
  std::vector<EvalResult> before, after;  // evaluation of the start, and of what is at the top of `out`
  bool top_is_best = false;               // the adapter at the top of `out` is the best by validation, else the last
  double last_loss = 0;
  double lr = 0;       // the highest rate of the run
  core::Json lr_test;  // how it was chosen, where it was (to_json(RateTest)); else null
  core::Json spikes;   // [{"step", "what", "done"}]: steps that were left out or rolled back
};

/// One run into a folder that the caller has locked and prepared (see run_folder.h).
class Trainer {
 public:
  /// `identity`: what must be equal for a resumed run to be the same run, as stored in the checkpoint (options that
  /// matter, data and base hashes, versions); the options above that matter are added under their names on the command
  /// line ("--lr") where it lacks them. `stop`: set by a signal handler to the signal's number. `sync`: the other
  /// ranks, each of which has such a Trainer, on one shared `out`: all take the same steps and end at the same one, and
  /// rank 0 alone writes, and tells its observer. ConfigError for options that do not go with the objective.
  Trainer(Objective& objective, TrainOptions options, std::filesystem::path out, core::Json identity,
          std::atomic<int>* stop = nullptr, GradSync* sync = nullptr);
  /// Trains to the end, or from the newest valid checkpoint when `resume`. DataError when a loss or gradient is not
  /// finite (step and documents named; nothing is saved). `force`: a checkpoint whose identity differs is used anyway.
  /// ConfigError when it differs otherwise, or when there is a valid checkpoint and no `resume`.
  TrainResult run(TrainObserver& observer, bool resume = false, bool force = false);

 private:
  Objective& objective_;
  TrainOptions options_;
  std::filesystem::path out_;
  core::Json identity_;
  std::atomic<int>* stop_;
  GradSync* sync_;  // null: one rank
};

}  // namespace lowrank::train
