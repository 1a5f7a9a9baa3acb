// `lowrank sweep`: many fine-tuning runs over a space of options, chosen one after the other by validation loss.
#include "lowrank/core/json_text.h"
#include "lowrank/recipes/search/sweep.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/apps/console/signals.h"
#include "lowrank/apps/search/sweep_space.h"
#include "lowrank/apps/training/recipe_verb.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/files.h"
#include "lowrank/recipes/search/sweep_trials.h"

namespace lowrank::apps {

namespace {

using core::Json;
using train::Dimension;

class SweepView : public recipes::SweepObserver {
 public:
  SweepView(const Options& options, const Console& console) : options_(options), console_(console), bar_(console) {}

  void on_sweep(const train::SearchSpace& space, std::int64_t count) override {
    if (console_.silent()) return;
    std::vector<std::pair<std::string, std::string>> lines;
    for (const Dimension& d : space.dimensions()) lines.emplace_back(d.name, text_of(d));
    lines.emplace_back(
        "trials", fmt::format("{}, sampler {}, pruner {}", count, options_.text("sampler"), options_.text("pruner")));
    print_lines(fields(lines));
    if (options_.flag("dry-run")) return;
    console_.line();
    console_.line("trial  state       value   options");
  }
  void on_trial_progress(const recipes::TrialProgress& p) override {
    bar_.draw(p.step, p.steps,
              fmt::format("trial {} of {}  {}{}", p.number, p.count, recipes::words(*p.options),
                          p.best ? fmt::format("  best {:.4f}", *p.best) : ""));
  }
  void on_trial(const train::Trial& trial, bool best) override {
    bar_.clear();
    const Json json = recipes::to_json(trial);
    console_.line(fmt::format("{:>5}  {:<8}  {:>7} {} {}", trial.number, json["state"].get<std::string>(),
                              trial.value ? fmt::format("{:.4f}", *trial.value) : "-", best ? "*" : " ",
                              recipes::words(trial.options)) +
                  (trial.reason.empty() ? "" : ": " + trial.reason));
  }
  void note(const std::string& text) override {
    bar_.clear();
    console_.note(text);
  }
  void clear() { bar_.clear(); }
  std::atomic<int>* stop_flag() override { return &catch_stop_signals(); }
  train::GradSync* ranks() override { return met_ranks(); }
  Json own_options() const override { return app_options(options_); }
  std::string spelled(const std::string& field) const override { return "--" + field; }

 private:
  static std::string words_of(const std::vector<Json>& values, const char* by) {
    std::string text;
    for (const Json& value : values)
      text += (text.empty() ? "" : by) + (value.is_string() ? value.get<std::string>() : core::json_text(value));
    return text;
  }
  static std::string text_of(const Dimension& d) {
    std::string text =
        d.scale == Dimension::Scale::kChoice
            ? words_of(d.choices, ", ")
            : fmt::format("{} to {}{}", d.low, d.high, d.scale == Dimension::Scale::kLog ? " (log)" : "");
    if (d.when) text += "  when " + d.when->first + " is " + words_of(d.when->second, " ");
    return text;
  }

  const Options& options_;
  const Console& console_;
  Bar bar_;
};

int end_of_sweep(const recipes::SweepResult& result, const std::string& out, bool shared, const Console& console) {
  using State = recipes::RunResult::State;
  if (result.state == State::kDryRun) {
    console.line("dry run: nothing was trained or written");
    return 0;
  }
  if (result.state == State::kStopped) {
    console.line(result.stopped_in
                     ? fmt::format("stopped in trial {} of {}; go on with the same command{}", *result.stopped_in,
                                   result.count, shared ? "" : " and --resume")
                     : "stopped while others work on the last trials; go on with the same command");
    return exit_code_of(result.reason);
  }
  console.line();
  if (result.best.is_null()) {
    console.line("no trial ran to its end");
  } else {
    const auto number = result.best["trial"].get<std::int64_t>();
    const train::Trial& best = *std::find_if(result.trials.begin(), result.trials.end(),
                                             [&](const train::Trial& trial) { return trial.number == number; });
    console.line(fmt::format("best: trial {} with {:.4f} nats a token on validation ({})", best.number, *best.value,
                             recipes::words(best.options)));
    console.line("next: " + result.best["command"].get<std::string>());
  }
  if (!result.trials.empty()) console.line(fmt::format("{}: trials.jsonl, best.json, report.html", out));
  Json all = Json::array();
  for (const train::Trial& trial : result.trials) all.push_back(recipes::to_json(trial));
  console.result({{"trials", all}, {"best", result.best}, {"out", out}});
  return 0;
}

int sweep(const Options& options) {
  const Console console(options);
  recipes::SweepSpec spec;
  set_fields(recipes::fields_of(spec), options);
  spec.space_name = options.positional(0);
  static const Verb finetune = finetune_verb();
  spec.space = read_space(spec.space_name, finetune).dimensions();
  spec.space_hash = core::sha256_file(core::FileRef::named(spec.space_name));
  spec.finetune.model = options.positional(1);
  spec.finetune.run.command = options.command_line();
  recipes::RunSpec& run = spec.finetune.run;
  if (work_apart(options, console)) {
    if (!run.threads) run.threads = threads_of_rank();
    if (!spec.study.storage) spec.study.storage = study_in(run.out);
  }
  SweepView view(options, console);
  const recipes::SweepResult result = recipes::sweep(spec, view);
  view.clear();
  return end_of_sweep(result, spec.finetune.run.out, spec.study.storage.has_value(), console);
}

}  // namespace

Verb sweep_verb() {
  Verb verb;
  verb.name = "sweep";
  verb.summary = "Search over options: many fine-tuning runs, chosen by validation loss";
  verb.positionals = {"SPACE.yaml", "MODEL"};
  verb.example = "lowrank sweep space.yaml MODEL --data corpus/ --out sweeps/art --trials 30";
  recipes::SweepSpec spec;
  verb.options = recipe_options(recipes::fields_of(spec));
  verb.options.push_back(option_rank_timeout());
  verb.run = sweep;
  return verb;
}

}  // namespace lowrank::apps
