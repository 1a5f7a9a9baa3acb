#include "lowrank/apps/training/recipe_verb.h"

#include <fmt/format.h>

#include "lowrank/apps/console/live_lines.h"
#include "lowrank/apps/console/signals.h"
#include "lowrank/apps/training/run_lines.h"
#include "lowrank/core/file_ref.h"

namespace lowrank::apps {

namespace {

/// One run of many: quiet, as with --quiet.
class PartView : public recipes::QuietObserver {
 public:
  using QuietObserver::QuietObserver;
  core::Json own_options() const override { return {{"quiet", true}, {"json", false}, {"follow-links", core::links_are_followed()}}; }
};

}  // namespace

std::vector<OptionSpec> recipe_options(const recipes::Fields& fields) {
  std::vector<OptionSpec> options = fields.info();
  options.push_back(option_plain());
  options.push_back(option_quiet());
  options.push_back(option_json());
  return options;
}

core::Json app_options(const Options& options) {
  return {{"quiet", options.flag("quiet")},
          {"json", options.flag("json")},
          {"follow-links", options.flag("follow-links")}};
}

void set_fields(recipes::Fields fields, const Options& options) {
  for (const OptionSpec& field : fields.info()) {
    if (options.given(field.name)) fields.set(field.name, options.value(field.name), options.source(field.name));
  }
}

void RunView::on_opening(const recipes::RunReport& report) {
  print_opening(console_, report);
  view_.emplace(console_, options_.has("log-every") ? options_.integer("log-every") : 0, report.shown_metrics,
                report.unit == "token" ? "tok" : report.unit + "s");
}

void RunView::on_closing(const recipes::RunReport& report, const train::TrainResult& result) {
  view_->clear();
  print_closing(console_, report, result, report.out);
}

void RunView::on_eval(std::int64_t step, const std::vector<train::EvalResult>& results, bool best) {
  view_->on_eval(step, results, best);
}

void RunView::on_note(const std::string& text) { view_->on_note(as_flags(console_.verb(), text)); }

std::atomic<int>* RunView::stop_flag() { return &catch_stop_signals(); }

core::Json RunView::own_options() const { return app_options(options_); }

std::unique_ptr<recipes::Observer> RunView::of_part() { return std::make_unique<PartView>(*this); }

int end_of(const recipes::RunResult& result, const Console& console) {
  clear_live();  // what a run that was stopped had drawn
  switch (result.state) {
    case recipes::RunResult::State::kStopped: {
      const std::string said =
          fmt::format("stopped by signal {} after step {} of {}; go on with the same command and --resume",
                      result.training->signal, result.training->steps, result.planned_steps);
      console.line(said);
      console.result({{"error", said}, {"exit", exit_code_of(result.training->signal)}});
      return exit_code_of(result.training->signal);
    }
    case recipes::RunResult::State::kDryRun:
      console.line("dry run: nothing was trained or written");
      console.result(result.run);
      return 0;
    case recipes::RunResult::State::kTrained:
      console.result(result.run);
      return 0;
    case recipes::RunResult::State::kWasFinished:
      return 0;
  }
  return 0;
}

}  // namespace lowrank::apps
