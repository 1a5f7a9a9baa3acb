// Many fine-tuning runs over a space of options, chosen one after the other by validation loss.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/recipes/finetune.h"
#include "lowrank/recipes/search/study_spec.h"
#include "lowrank/train/sampler.h"

namespace lowrank::recipes {

struct SweepSpec : Spec {
  std::vector<train::Dimension> space;   // names are fields of the fine-tuning spec
  std::string space_name = "the space";  // its file, for messages
  std::string space_hash;                // of the file: a sweep that is gone on with has the same
  std::int64_t trials = 20;              // in all; a grid: all of it
  std::string sampler = "tpe", pruner = "none";
  StudySpec study;        // that other processes share
  FinetuneSpec finetune;  // what is fixed for all trials; run.out is the sweep's folder
};
/// The sweep's own fields, then the fine-tuning's.
void describe(Fields& table, SweepSpec& spec);

/// A trial under way.
struct TrialProgress {
  std::int64_t number = 0, count = 0, step = 0, steps = 0;
  const train::Assignment* options = nullptr;
  std::optional<double> best;  // validation loss so far
};
class SweepObserver : public Observer {
 public:
  /// Before the first trial: the space in order, and how many trials there will be.
  virtual void on_sweep(const train::SearchSpace&, std::int64_t /*count*/) {}
  virtual void on_trial_progress(const TrialProgress&) {}
  /// A trial has ended, in this call, an earlier one or another process; `best`: it is the best so far.
  virtual void on_trial(const train::Trial&, bool /*best*/) {}
};

struct SweepResult {
  RunResult::State state = RunResult::State::kTrained;
  std::optional<std::int64_t> stopped_in;  // kStopped: by the observer, in this trial; nothing: while waiting for others
  int reason = 0;                          // of kStopped
  std::int64_t count = 0;
  std::vector<train::Trial> trials;
  core::Json best;  // trial, options, value, the command that runs it again; null where none ran to its end
};

/// Trials into run.out/trials, one after another on one base; trials.jsonl, best.json, report.html after each. `resume`
/// goes on with the trials that there are. With `storage` other processes may work on the same trials: this one takes
/// its share, and returns when all have ended.
SweepResult sweep(const SweepSpec& spec, SweepObserver& observer);

/// "lr=0.001 rank=8"
std::string words(const train::Assignment& options);

}  // namespace lowrank::recipes
