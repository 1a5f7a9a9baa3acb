#include "lowrank/train/trainer.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <memory>

#include "lowrank/core/error.h"
#include "lowrank/core/plural.h"
#include "lowrank/kernels/flat_buffer.h"
#include "lowrank/kernels/profile.h"
#include "lowrank/train/checkpoint.h"
#include "lowrank/train/ema.h"
#include "lowrank/train/flat_parameters.h"
#include "lowrank/train/gradients.h"
#include "lowrank/train/identity.h"
#include "lowrank/train/metrics_log.h"
#include "lowrank/train/optimizer.h"
#include "lowrank/train/penalties.h"
#include "lowrank/train/rate_test.h"

namespace lowrank::train {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// `every`, or as many steps as make `times` occasions a run.
std::int64_t interval(std::int64_t every, std::int64_t steps, std::int64_t times) {
  return every > 0 ? every : std::max<std::int64_t>(1, (steps + times - 1) / times);
}

/// One run from its start or its resumption to its end.
class Run {
 public:
  Run(Objective& objective, const TrainOptions& options, fs::path out, core::Json identity, std::atomic<int>* stop,
      GradSync& sync, TrainObserver& observer)
      : objective_(objective),
        options_(options),
        out_(std::move(out)),
        stop_(stop),
        sync_(sync),
        observer_(sync.rank() == 0 ? observer : silent_),
        parameters_(objective.parameters()),
        factors_(objective.factors()),
        optimizer_(std::make_unique<AdamW>(
            parameters_,
            kernels::AdamWOptions{options.lr, options.beta1, options.beta2, options.eps, options.weight_decay},
            rate_ranges(parameters_.parameters(), options.lora_plus_ratio))),
        spikes_(options.on_spike),
        lr_(options.lr),
        steps_(objective.steps()),
        warmup_(warmup_steps(options.warmup, steps_)),
        eval_every_(interval(options.eval_every, steps_, 10)),
        save_every_(interval(options.save_every, steps_, 5)) {
    objective_.parameters_moved();
    objective_.watch_evaluation(observer_.evaluation_progress());
    observer_.on_evaluations(eval_every_);
    if (options.ema > 0) ema_.emplace(options.ema, parameters_.values());
    const int batch_ranks = objective.batch_ranks() > 0 ? objective.batch_ranks() : sync_.ranks();
    state_.identity = complete_identity(std::move(identity), options, steps_, batch_ranks, sync_.ranks());
    core::Json begins = state_.identity;
    begins["parameters"] = kernels::sum_of_squares(parameters_.values());
    require_equal(sync_, begins);
  }

  TrainResult run(bool resume, bool force) {
    start(resume, force);
    penalties_.emplace(parameters_, objective_.penalised());  // now: a beginning comes with the checkpoint
    while (state_.step < steps_ && !stopped_early()) {
      if (asked_to_stop()) return interrupted();
      const Step done = step();
      if (done == Step::kInterrupted) return interrupted();
      if (done == Step::kRolledBack) continue;
      const bool ends = state_.step == steps_;
      bool better = false;
      if (ends || state_.step % eval_every_ == 0) better = evaluate();
      if (ends || better || stopped_early() || state_.step % save_every_ == 0) save();
    }
    return finish();
  }

 private:
  bool first_rank() const { return sync_.rank() == 0; }

  // The beginning: from the newest valid checkpoint, or from nothing. Rank 0 chooses and keeps the folder.
  void start(bool resume, bool force) {
    std::vector<std::string> skipped;
    std::string newest;
    together(sync_, [&] {
      if (!first_rank()) return;
      if (const auto found = newest_checkpoint(out_, &skipped)) newest = found->string();
    });
    newest = from_first(sync_, newest);
    if (!newest.empty() && !resume) {
      throw ConfigError(out_.string() + " holds an unfinished run: go on with `resume`, or `overwrite` it");
    }
    for (const std::string& note : skipped) observer_.on_note(note);
    if (!newest.empty()) {
      continue_from(newest, force);
      return;
    }
    if (resume) observer_.on_note("there is no valid checkpoint in " + out_.string() + ": starting from the beginning");
    if (options_.lr_auto) {
      const RateTest test = test_rates(objective_, parameters_, options_, rate_test_steps(steps_), sync_,
                                       observer_.evaluation_progress());
      state_.lr_test = to_json(test);
      lr_ = test.rate;
      observer_.on_note("`lr` " + test.reason);
    }
    const std::int64_t evaluations = (steps_ + eval_every_ - 1) / eval_every_;
    if (options_.early_stopping >= evaluations && options_.early_stopping > 0)
      observer_.on_note(fmt::format("`early-stopping` {} never ends this run before its last step: {} come after its start; lower it, "
                                    "or `eval-every` ({})",
                                    options_.early_stopping, core::counted(evaluations, "evaluation"), eval_every_));
    observer_.on_start(0, steps_);
    together(sync_, [&] {
      if (!first_rank()) return;
      discard_checkpoints_after(out_, -1);
      metrics_.emplace(out_ / "metrics.jsonl", 0);
    });
    const bool has_validation = evaluate();
    state_.before = to_json(evaluated_in_whole(last_evaluation_));
    // The start is the best so far, and must be recoverable should training only make it worse.
    if (has_validation || options_.on_spike == OnSpike::kRollback) save();
  }

  void continue_from(const fs::path& checkpoint, bool force) {
    const core::Json now = state_.identity;
    const CheckpointState saved = read_checkpoint_state(checkpoint);
    if (saved.step > steps_) {
      throw FormatError(checkpoint.string() + " says that it was saved after step " + std::to_string(saved.step) +
                        ", but the run has " + std::to_string(steps_) +
                        ": it is not of this run, or was altered; remove it to go on from the one before it");
    }
    const auto differences = options_.longer ? identity_differences(without_length(saved.identity), without_length(now))
                                             : identity_differences(saved.identity, now);
    std::string list;
    for (const std::string& difference : differences) list += (list.empty() ? "" : "; ") + difference;
    if (!differences.empty() && !force) {
      throw ConfigError(checkpoint.string() + " is of a run with other options (" + list +
                        "): resume with those, or give `force` to go on without bit-exactness");
    }
    if (!differences.empty()) observer_.on_note("not bit-exact: resumed although these differ: " + list);
    if (const std::int64_t before = processes_of(saved.identity); before != sync_.ranks())
      observer_.on_note("resumed on " + std::to_string(sync_.ranks()) + (sync_.ranks() == 1 ? " rank" : " ranks") +
                        " after " + std::to_string(before) +
                        ": the same steps, whose sums round otherwise, so that bytes may differ");
    take_state(checkpoint);
    state_.identity = now;
    if (state_.spikes.is_object()) {
      spikes_.restore(core::JsonView(state_.spikes, (checkpoint / "trainer_state.json").string() + ": spikes"));
    }
    if (options_.lr_auto && state_.lr_test.is_object()) lr_ = state_.lr_test.at("lr").get<double>();
    observer_.on_note("resumed from " + checkpoint.string());
    observer_.on_start(state_.step, steps_);
    observer_stops_ = observer_asks_to_stop();  // the kill may have come between that evaluation and the end
  }

  // Parameters, optimiser, objective and log as they were at a checkpoint.
  void take_state(const fs::path& checkpoint) {
    together(sync_, [&] {
      state_ = load_checkpoint(checkpoint, parameters_, *optimizer_, ema());
      objective_.load_state(checkpoint);
    });
    saved_step_ = state_.step;
    last_evaluation_ = evaluation_from_json(state_.last);
    together(sync_, [&] {
      if (!first_rank()) return;
      discard_checkpoints_after(out_, state_.step);
      prune();  // a kill may have come between a save and its pruning
      metrics_.emplace(out_ / "metrics.jsonl", state_.metrics_bytes);
      if (metrics_->was_short()) observer_.on_note("metrics.jsonl lacks rows that were there at the checkpoint");
    });
  }

  // kInterrupted: a signal came to any rank, the partial sum is dropped, the state is that after the last step.
  // kRolledBack: the state is that of a checkpoint.
  enum class Step { kTaken, kInterrupted, kRolledBack };

  // One optimiser step.
  Step step() {
    const auto began = Clock::now();
    const kernels::ProfileScope profiled("step", 0, 0, /*around=*/true);
    const std::int64_t index = state_.step;
    parameters_.zero_gradients();
    StepTotals totals;
    objective_.prepare(index);
    together(sync_, [&] { add_up(index, totals); });
    if (asked_to_stop()) return Step::kInterrupted;
    parameters_.check_aliasing();
    at::Tensor& gradients = parameters_.gradients();
    sync_.sum(gradients, totals);
    divide_by_count(gradients, totals.count);
    StepMetrics metrics;
    metrics.penalty = penalties_->value(options_.l1, options_.l2);
    if (options_.l2 != 0) penalties_->add_l2_gradient(options_.l2);
    if (options_.delta.any()) metrics.penalty += add_delta_penalties(factors_, options_.delta);
    const auto count = static_cast<double>(std::max<std::int64_t>(1, totals.count));
    metrics.loss = totals.loss / count;
    for (const auto& [name, sum] : totals.metrics) metrics.metrics[name] = sum / count;
    objective_.complete_metrics(index, metrics.metrics);
    {
      const kernels::ProfileScope profiled_norm("gradient norm", 0, 4.0 * static_cast<double>(gradients.numel()));
      metrics.grad_norm = parameters_.gradient_norm();
    }
    const std::string fault = spikes_.fault(metrics.loss, metrics.grad_norm);
    if (!fault.empty() && options_.on_spike != OnSpike::kSkip) {
      roll_back(index, fault);
      return Step::kRolledBack;
    }
    metrics.lr = spikes_.rate() * run_rate(options_.schedule, lr_, index, steps_, warmup_);
    metrics.left_out = !fault.empty();
    if (metrics.left_out) {
      leave_out(index, fault);
    } else {
      check_finite(index, metrics);
      spikes_.took(metrics.loss, metrics.grad_norm);
      update(index, metrics);
    }

    state_.step = metrics.step = index + 1;
    state_.tokens += totals.tokens;
    if (!metrics.left_out) state_.last_loss = metrics.loss;
    metrics.epoch = objective_.epoch_after(index);
    metrics.tokens = state_.tokens;
    const double seconds = seconds_since(began);
    state_.seconds += seconds;
    metrics.tokens_per_second = static_cast<double>(totals.tokens) / std::max(seconds, 1e-9);
    metrics.peak_rss_bytes = peak_rss_bytes();
    log(metrics);
    observer_.on_step(metrics);
    return Step::kTaken;
  }

  void update(std::int64_t index, const StepMetrics& metrics) {
    at::Tensor& values = parameters_.values();
    {
      const kernels::ProfileScope profiled("clipping", 0, 8.0 * static_cast<double>(values.numel()));
      clip_gradients(parameters_.gradients(), metrics.grad_norm, options_.clip);
    }
    {
      const kernels::ProfileScope profiled("optimizer", 0, 28.0 * static_cast<double>(values.numel()));
      optimizer_->step(parameters_, index + 1, metrics.lr);
    }
    if (options_.l1 != 0) penalties_->shrink(metrics.lr * options_.l1);
    if (options_.max_delta_norm > 0) cap_delta_norms(factors_, options_.max_delta_norm);
    if (ema_) ema_->update(values, index + 1);
    if (ema_ && options_.max_delta_norm > 0) {
      // The product of two averages may be larger than the average of the products.
      const Averaged averaged(ema(), values);
      cap_delta_norms(factors_, options_.max_delta_norm);
    }
  }

  // A step of whose batch nothing is learned.
  void leave_out(std::int64_t index, const std::string& fault) {
    constexpr std::int64_t kMost = 10;  // then it is no spike
    spikes_.left_out(index + 1, fault, "left out");
    const std::string said = spike_text(index, fault);
    if (spikes_.in_a_row() >= kMost) {
      throw DataError(said + ", as in the " + std::to_string(kMost - 1) +
                      " steps before: the run has diverged; lower `lr` and `resume` from the last checkpoint with `force`");
    }
    observer_.on_note(said + ": the step is left out");
  }

  // The state of the newest checkpoint, to go on from at half the rate; or the end of the run.
  void roll_back(std::int64_t index, const std::string& fault) {
    constexpr std::int64_t kMost = 3;
    const std::string said = spike_text(index, fault);
    if (options_.on_spike == OnSpike::kStop || spikes_.rollbacks() >= kMost) {
      throw DataError(said + (spikes_.rollbacks() >= kMost ? ", after " + std::to_string(kMost) + " rollbacks" : "") +
                      "; nothing of it was saved; look at these documents, or lower `lr` and `resume` from the last "
                      "checkpoint with `force`");
    }
    std::string newest;
    together(sync_, [&] {
      if (!first_rank()) return;
      if (const auto found = newest_checkpoint(out_, nullptr)) newest = found->string();
    });
    newest = from_first(sync_, newest);
    if (newest.empty()) throw DataError(said + "; there is no checkpoint to roll back to; lower `lr`");
    const core::Json identity = state_.identity;
    take_state(newest);
    state_.identity = identity;
    spikes_.back_to(core::JsonView(state_.spikes, newest + ": spikes"));
    spikes_.left_out(index + 1, fault, "rolled back");
    state_.spikes = spikes_.to_json();
    observer_.on_note(said + ": rolled back to " + newest + ", to go on from at " +
                      fmt::format("{:g}", spikes_.rate()) + " of the learning rate");
  }

  std::string spike_text(std::int64_t index, const std::string& fault) const {
    return "at step " + std::to_string(index + 1) + " of " + std::to_string(steps_) + " " + fault + " (batch: " +
           objective_.describe(index) + ")";
  }

  // This rank's micro-batches, forward and backward, until a signal.
  void add_up(std::int64_t index, StepTotals& totals) {
    const std::int64_t micro_batches = objective_.micro_batches(index);
    MicroBatches done;
    for (std::int64_t micro = 0; micro < micro_batches && !signalled(); ++micro) {
      sync_.look();
      observer_.on_micro(index + 1, micro, micro_batches);
      done.differentiate(objective_.forward(index, micro));
    }
    done.add_to(totals);
    if (sync_.ranks() == 1 || signalled() || options_.on_spike != OnSpike::kIgnore) return;
    // What is not finite is told by the rank that computed it: after the sum all would have it.
    StepMetrics own;
    own.loss = totals.loss;
    own.grad_norm = kernels::all_finite(parameters_.gradients()) ? 0 : std::numeric_limits<double>::quiet_NaN();
    check_finite(index, own);
  }

  void check_finite(std::int64_t index, const StepMetrics& metrics) const {
    if (std::isfinite(metrics.loss) && std::isfinite(metrics.grad_norm)) return;
    const bool loss = !std::isfinite(metrics.loss);
    const std::string what =
        (loss ? "the loss is " : "the gradient's norm is ") + std::to_string(loss ? metrics.loss : metrics.grad_norm);
    throw DataError("at step " + std::to_string(index + 1) + " of " + std::to_string(steps_) + " " + what +
                    " (batch: " + objective_.describe(index) +
                    "); nothing of it was saved; look at these documents, or lower `lr` and `resume` from the last "
                    "checkpoint with `force`");
  }

  void log(const StepMetrics& m) {
    if (!first_rank()) return;
    core::Json row = {{"step", m.step},
                      {"epoch", m.epoch},
                      {"loss", m.loss},
                      {"lr", m.lr},
                      {"grad_norm", m.grad_norm},
                      {"tokens", m.tokens},
                      {"tokens_per_second", m.tokens_per_second},
                      {"peak_rss_bytes", m.peak_rss_bytes}};
    if (options_.l1 != 0 || options_.l2 != 0 || options_.delta.any()) row["penalty"] = m.penalty;
    if (m.left_out) row["left_out"] = true;
    for (const auto& [name, value] : m.metrics) row[name] = value;
    metrics_->row(row);
  }

  // Evaluates what is trained now. True when it is the best by validation.
  bool evaluate() {
    observer_.on_eval_begin(state_.step);
    {
      at::NoGradGuard no_grad;
      const Averaged averaged(ema(), parameters_.values());
      last_evaluation_ = objective_.evaluate();
    }
    for (const EvalResult& result : last_evaluation_) {
      if (!std::isfinite(result.loss)) {
        throw DataError("after step " + std::to_string(state_.step) + " the loss on the " + result.split + " data is " +
                        std::to_string(result.loss) + "; nothing of it was saved");
      }
      core::Json row = {
          {"step", state_.step}, {"eval_loss", result.loss}, {"split", result.split}, {"tokens", result.tokens}};
      for (const auto& [name, value] : result.metrics) row["eval_" + name] = value;
      if (first_rank()) metrics_->row(row);
    }
    state_.last = to_json(last_evaluation_);
    bool better = false;
    if (objective_.has_validation() && !last_evaluation_.empty()) {
      const double loss = last_evaluation_.front().loss;
      better = !state_.best_loss || loss < *state_.best_loss;
      const bool gain = !state_.best_loss || loss < *state_.best_loss - options_.min_gain;
      state_.evals_without_gain = gain ? 0 : state_.evals_without_gain + 1;
    }
    if (better) {
      state_.best_loss = last_evaluation_.front().loss;
      state_.best_step = state_.step;
      state_.best = state_.last;
    }
    observer_.on_eval(state_.step, last_evaluation_, better);
    observer_stops_ = observer_asks_to_stop();
    return better;
  }

  /// What evaluate() measured a part of, in whole; `part` where that was the whole.
  std::vector<EvalResult> evaluated_in_whole(std::vector<EvalResult> part) {
    std::vector<EvalResult> whole;
    {
      at::NoGradGuard no_grad;
      const Averaged averaged(ema(), parameters_.values());
      whole = objective_.evaluate_whole();
    }
    if (whole.empty()) return part;
    observer_.on_whole_eval(state_.step, whole);
    return whole;
  }

  bool stopped_early() const {
    return observer_stops_ || (options_.early_stopping > 0 && state_.evals_without_gain >= options_.early_stopping);
  }

  // Rank 0's observer decides for all.
  bool observer_asks_to_stop() { return largest(sync_, observer_.stops_here() ? 1 : 0) != 0; }

  // Whether a signal has come to any rank, so that all end at the same step.
  bool asked_to_stop() {
    signal_ = static_cast<int>(largest(sync_, signalled() ? stop_->load() : 0));
    return signal_ != 0;
  }

  bool signalled() const { return stop_ != nullptr && stop_->load(std::memory_order_relaxed) != 0; }

  void save() {
    together(sync_, [&] {
      objective_.check_inputs();
      if (!first_rank()) return;
      metrics_->sync();
      state_.metrics_bytes = metrics_->bytes();
      if (options_.on_spike != OnSpike::kIgnore) state_.spikes = spikes_.to_json();
      save_checkpoint(out_, state_, parameters_, *optimizer_, objective_, ema());
      prune();
    });
    saved_step_ = state_.step;
    observer_.on_checkpoint(checkpoint_path(out_, state_.step));
  }

  Ema* ema() { return ema_ ? &*ema_ : nullptr; }

  void prune() { prune_checkpoints(out_, options_.keep_last, state_.best_loss ? state_.best_step : -1); }

  TrainResult interrupted() {
    if (state_.step > std::max<std::int64_t>(0, saved_step_)) save();
    TrainResult result = describe(TrainResult::Stop::kSignal);
    result.signal = signal_;
    return result;
  }

  // The end: the best by validation, else the last, at the top of the folder.
  TrainResult finish() {
    TrainResult result = describe(stopped_early() ? TrainResult::Stop::kEarly : TrainResult::Stop::kFinished);
    result.after = last_evaluation_;
    result.top_is_best = state_.best_loss && state_.best_step == state_.step;
    if (state_.best_loss && !result.top_is_best) result.top_is_best = take_best();
    if (result.top_is_best && state_.best_step != state_.step) result.after = evaluation_from_json(state_.best);
    result.after = evaluated_in_whole(std::move(result.after));
    if (ema_) ema_->exchange(parameters_.values());  // for good: the model holds what is saved
    together(sync_, [&] {
      objective_.check_inputs();
      if (!first_rank()) return;
      objective_.save(out_);
      metrics_->sync();
      metrics_->close();
    });
    result.exact_zeros = penalties_->share_of_zeros();
    return result;
  }

  // The parameters of the best checkpoint. False, and said, where it cannot be used.
  bool take_best() {
    const fs::path best = checkpoint_path(out_, state_.best_step);
    const std::string fault = from_first(sync_, first_rank() ? checkpoint_fault(best) : "");
    if (!fault.empty()) {
      observer_.on_note("the best checkpoint, " + best.string() + ", cannot be used (" + fault +
                        "): the last one is taken");
      return false;
    }
    together(sync_, [&] { load_checkpoint(best, parameters_, *optimizer_, ema()); });
    return true;
  }

  TrainResult describe(TrainResult::Stop stop) const {
    TrainResult result;
    result.stop = stop;
    result.steps = state_.step;
    result.tokens = state_.tokens;
    result.seconds = state_.seconds;
    result.best_step = state_.best_step;
    result.best_loss = state_.best_loss;
    result.before = evaluation_from_json(state_.before);
    result.last_loss = state_.last_loss;
    result.lr = lr_;
    result.lr_test = state_.lr_test;
    result.spikes = spikes_.events();
    return result;
  }

  Objective& objective_;
  const TrainOptions& options_;
  fs::path out_;
  std::atomic<int>* stop_;
  GradSync& sync_;
  TrainObserver silent_;  // of the ranks after the first
  TrainObserver& observer_;
  FlatParameters parameters_;
  std::vector<lora::Factors> factors_;
  std::optional<Ema> ema_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<Penalties> penalties_;
  SpikeWatch spikes_;
  double lr_;  // the highest rate
  std::int64_t steps_, warmup_, eval_every_, save_every_;
  CheckpointState state_;
  std::optional<MetricsLog> metrics_;
  std::vector<EvalResult> last_evaluation_;
  std::int64_t saved_step_ = -1;
  bool observer_stops_ = false;
  int signal_ = 0;
};

}  // namespace

Trainer::Trainer(Objective& objective, TrainOptions options, fs::path out, core::Json identity, std::atomic<int>* stop,
                 GradSync* sync)
    : objective_(objective),
      options_(options),
      out_(std::move(out)),
      identity_(std::move(identity)),
      stop_(stop),
      sync_(sync) {
  if (options_.early_stopping > 0 && !objective_.has_validation()) {
    throw ConfigError("`early-stopping` needs validation data: give `val-data` or `val-split`");
  }
  if ((options_.delta.any() || options_.max_delta_norm > 0) && objective_.factors().empty()) {
    throw ConfigError(
        "`delta-l1`, `delta-l2`, `orthogonality` and `max-delta-norm` act on the factors of a low-rank "
        "adapter, and there is none: leave them out, or use `method` lora");
  }
}

TrainResult Trainer::run(TrainObserver& observer, bool resume, bool force) {
  return Run(objective_, options_, out_, identity_, stop_, or_alone(sync_), observer).run(resume, force);
}

}  // namespace lowrank::train
