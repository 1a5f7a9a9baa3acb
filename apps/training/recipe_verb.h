// A verb that is a recipe: its options are the recipe's fields, its run is the recipe's, watched on the console.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/training/ranks.h"
#include "lowrank/apps/training/training_view.h"
#include "lowrank/recipes/observer.h"
#include "lowrank/recipes/result.h"
#include "lowrank/recipes/spec/specs.h"

namespace lowrank::apps {

/// The fields, and how much the command says.
std::vector<OptionSpec> recipe_options(const recipes::Fields& fields);
/// Sets the fields that argv or a file gave.
void set_fields(recipes::Fields fields, const Options& options);
/// The options of every verb that are the command's own, as run.json has them.
core::Json app_options(const Options& options);

template <typename Spec>
std::vector<OptionSpec> options_of() {
  Spec spec;
  return recipe_options(recipes::fields_of(spec));
}
/// Of a verb that works with the other ranks of a launch, too.
template <typename Spec>
std::vector<OptionSpec> training_options_of() {
  std::vector<OptionSpec> options = options_of<Spec>();
  options.push_back(option_rank_timeout());
  return options;
}
template <typename Spec>
Spec spec_of(const Options& options) {
  Spec spec;
  set_fields(recipes::fields_of(spec), options);
  if constexpr (requires { spec.model; }) spec.model = options.positional(0);
  spec.run.command = options.command_line();
  return spec;
}

/// Once a RunView has met the ranks, as they are to run it.
template <typename Spec>
Spec training_spec_of(const Options& options, const Console& console) {
  Spec spec = spec_of<Spec>(options);
  if (!spec.run.threads) spec.run.threads = threads_of_rank();
  go_on_if_restarted(spec.run, console);
  return spec;
}

/// What the user sees of a run: the opening lines, the bar or plain lines, the closing table.
class RunView : public OnConsole<recipes::Observer> {
 public:
  /// Meets the other ranks, where there are any.
  RunView(const Options& options, const Console& console)
      : OnConsole(console), options_(options), ranks_(join_ranks(options, console)) {}
  train::GradSync* ranks() override { return ranks_; }
  void on_opening(const recipes::RunReport& report) override;
  void on_closing(const recipes::RunReport& report, const train::TrainResult& result) override;
  void on_evaluations(std::int64_t every) override { view_->on_evaluations(every); }
  void on_whole_eval(std::int64_t step, const std::vector<train::EvalResult>& results) override {
    view_->on_whole_eval(step, results);
  }
  void on_start(std::int64_t first_step, std::int64_t steps) override { view_->on_start(first_step, steps); }
  void on_micro(std::int64_t step, std::int64_t micro, std::int64_t of) override { view_->on_micro(step, micro, of); }
  void on_step(const train::StepMetrics& metrics) override { view_->on_step(metrics); }
  void on_eval_begin(std::int64_t step) override { view_->on_eval_begin(step); }
  void on_eval(std::int64_t step, const std::vector<train::EvalResult>& results, bool best) override;
  void on_checkpoint(const std::filesystem::path& path) override { view_->on_checkpoint(path); }
  void on_note(const std::string& text) override;
  std::atomic<int>* stop_flag() override;
  core::Json own_options() const override;
  std::unique_ptr<recipes::Observer> of_part() override;
  std::string spelled(const std::string& field) const override { return "--" + field; }

 private:
  const Options& options_;
  train::GradSync* ranks_;
  std::optional<TrainingView> view_;  // from the opening on
};

/// Says how the run ended, with --json its run.json; the exit code.
int end_of(const recipes::RunResult& result, const Console& console);

}  // namespace lowrank::apps
