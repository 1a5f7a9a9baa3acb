// A training run as TensorBoard shows it, beside what the user sees of it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/formats/tensorboard.h"
#include "lowrank/train/trainer.h"

namespace lowrank::recipes {

/// Of the run's folder: what --tensorboard writes.
inline constexpr const char* kEventFile = "events.out.tfevents.lowrank";

/// Hands everything on to `next`, and writes steps and evaluations as scalars: train/loss, train/lr, train/grad_norm,
/// train/epoch, train/tokens_per_second, <set>/loss. A resumed run goes on behind its checkpoint: no step stands there
/// twice.
class TensorBoardLog : public train::TrainObserver {
 public:
  TensorBoardLog(train::TrainObserver& next, std::filesystem::path file) : next_(next), file_(std::move(file)) {}
  void on_start(std::int64_t first_step, std::int64_t steps) override;
  void on_micro(std::int64_t step, std::int64_t micro, std::int64_t of) override { next_.on_micro(step, micro, of); }
  void on_step(const train::StepMetrics& metrics) override;
  void on_evaluations(std::int64_t every) override { next_.on_evaluations(every); }
  void on_whole_eval(std::int64_t step, const std::vector<train::EvalResult>& results) override {
    next_.on_whole_eval(step, results);
  }
  core::ProgressObserver* evaluation_progress() override { return next_.evaluation_progress(); }
  void on_eval_begin(std::int64_t step) override { next_.on_eval_begin(step); }
  void on_eval(std::int64_t step, const std::vector<train::EvalResult>& results, bool best) override;
  void on_checkpoint(const std::filesystem::path& path) override;
  void on_note(const std::string& text) override { next_.on_note(text); }
  bool stops_here() override { return next_.stops_here(); }
  /// Ends the file; IoError for a write that the system reports only now.
  void close() {
    if (events_) events_->close();
  }

 private:
  train::TrainObserver& next_;
  std::filesystem::path file_;
  std::optional<formats::EventFile> events_;
};

}  // namespace lowrank::recipes
