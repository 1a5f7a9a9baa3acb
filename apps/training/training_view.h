// What the user sees while a run trains: the panel, one bar where there is no room for it, or plain lines.
#pragma once

#include <memory>

#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/training/panel.h"
#include "lowrank/train/trainer.h"

namespace lowrank::apps {

class TrainingView : public train::TrainObserver {
 public:
  /// `log_every` 0: about twenty lines a run. `shown`: the objective's metrics that the lines give; `unit`: what it
  /// counts.
  TrainingView(const Console& console, std::int64_t log_every, std::vector<std::string> shown = {},
               std::string unit = "tok")
      : console_(console), bar_(console), shown_(std::move(shown)), unit_(std::move(unit)), log_every_(log_every) {}
  void on_evaluations(std::int64_t every) override { eval_every_ = every; }
  void on_start(std::int64_t first_step, std::int64_t steps) override;
  void on_micro(std::int64_t step, std::int64_t micro, std::int64_t of) override;
  void on_step(const train::StepMetrics& metrics) override;
  void on_eval_begin(std::int64_t step) override;
  void on_eval(std::int64_t step, const std::vector<train::EvalResult>& results, bool best) override;
  void on_whole_eval(std::int64_t step, const std::vector<train::EvalResult>& results) override;
  void on_checkpoint(const std::filesystem::path& path) override;
  void on_note(const std::string& text) override;
  /// Leaves the terminal's line empty, for what others print.
  void clear() { bar_.clear(); }

 private:
  std::string progress_text(const train::StepMetrics& metrics) const;
  void draw(std::int64_t step, const std::string& doing, bool force = false);
  std::string left_text(std::int64_t step) const;
  std::string own_metrics(const train::StepMetrics& metrics) const;
  std::string results_text(std::int64_t step, const std::vector<train::EvalResult>& results) const;
  /// What is left after `step`: seconds of training, and of evaluation.
  double training_left(std::int64_t step) const;
  double evaluation_left(std::int64_t step) const;
  void say_times(std::int64_t step);
  const Console& console_;
  Bar bar_;
  std::vector<std::string> shown_;
  std::string unit_;  // what is counted a second
  std::int64_t log_every_, steps_ = 0;
  std::int64_t eval_every_ = 0;
  double last_time_ = 0, seconds_a_step_ = 0;                     // a moving mean, evaluations left out
  double eval_began_ = 0, eval_seconds_ = 0, whole_seconds_ = 0;  // of the last evaluation, and of one in whole
  bool said_times_ = false;
  Panel panel_;
  train::StepMetrics last_;
};

}  // namespace lowrank::apps
