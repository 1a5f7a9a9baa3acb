// What the user sees while a run trains: the live bar, or plain lines.
#pragma once

#include <memory>

#include "lowrank/apps/console/terminal.h"
#include "lowrank/train/trainer.h"

namespace lowrank::apps {

class TrainingView : public train::TrainObserver {
 public:
  /// `log_every` 0: about twenty lines a run. `shown`: the objective's metrics that the lines give; `unit`: what it
  /// counts.
  TrainingView(const Console& console, std::int64_t log_every, std::vector<std::string> shown = {},
               std::string unit = "tok")
      : console_(console), bar_(console), shown_(std::move(shown)), unit_(std::move(unit)), log_every_(log_every) {}
  void on_start(std::int64_t first_step, std::int64_t steps) override;
  void on_micro(std::int64_t step, std::int64_t micro, std::int64_t of) override;
  void on_step(const train::StepMetrics& metrics) override;
  void on_eval_begin(std::int64_t step) override;
  void on_eval(std::int64_t step, const std::vector<train::EvalResult>& results, bool best) override;
  void on_checkpoint(const std::filesystem::path& path) override;
  void on_note(const std::string& text) override;

 private:
  std::string progress_text(const train::StepMetrics& metrics) const;
  const Console& console_;
  Bar bar_;
  std::vector<std::string> shown_;
  std::string unit_;  // what is counted a second
  std::int64_t log_every_, first_ = 0, steps_ = 0;
  double last_time_ = 0, seconds_a_step_ = 0;  // a moving mean, evaluations left out
  std::string last_text_;
};

}  // namespace lowrank::apps
