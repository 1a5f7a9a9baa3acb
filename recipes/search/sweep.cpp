// `lowrank sweep`: many fine-tuning runs over a space of options, chosen one after the other by validation loss.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowrank/apps/console/signals.h"
#include "lowrank/apps/inputs/out_folder.h"
#include "lowrank/apps/search/sweep_space.h"
#include "lowrank/apps/training/recipe_verb.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"
#include "lowrank/recipes/finetune.h"
#include "lowrank/recipes/repeated_runs.h"
#include "lowrank/recipes/search/sweep_page.h"
#include "lowrank/recipes/search/sweep_trials.h"
#include "lowrank/recipes/spec/settings.h"
#include "lowrank/train/pruner.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;
using core::Json;
using train::Trial;

const Verb& finetune() {
  static const Verb verb = finetune_verb();
  return verb;
}

std::string words(const train::Assignment& options) {
  std::string text;
  for (const auto& [name, value] : options) {
    text += (text.empty() ? "" : " ") + name + "=" + (value.is_string() ? value.get<std::string>() : value.dump());
  }
  return text;
}

/// (step, validation loss) of every evaluation that a run's metrics.jsonl holds; a half last line is passed over.
std::vector<std::pair<std::int64_t, double>> validation_losses(const fs::path& run) {
  std::vector<std::pair<std::int64_t, double>> losses;
  const fs::path file = run / "metrics.jsonl";
  if (!fs::exists(file)) return losses;
  const std::string text = core::read_file(file);
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const Json row = core::parse_json(std::string_view(text).substr(begin, end - begin), file.string());
    const core::JsonView view(row, file.string());
    if (view.get_string("split", "") == "validation")
      losses.emplace_back(view.at("step").as_int(0), view.at("eval_loss").as_double());
  }
  return losses;
}

/// Follows one trial: its bar, and whether it goes on at its rungs.
class TrialView : public recipes::Observer {
 public:
  TrialView(const Console& console, std::string title, bool prunes, const std::vector<Trial>& finished,
            const fs::path& run)
      : bar_(console),
        title_(std::move(title)),
        prunes_(prunes),
        finished_(finished),
        earlier_(validation_losses(run)) {}

  void on_start(std::int64_t first_step, std::int64_t steps) override {
    steps_ = steps;
    pruner_.emplace(steps);
    for (const auto& [step, loss] : earlier_)
      if (step <= first_step) see(step, loss);
    draw(first_step);
  }
  void on_step(const train::StepMetrics& metrics) override { draw(metrics.step); }
  void on_eval(std::int64_t step, const std::vector<train::EvalResult>& results, bool) override {
    if (!results.empty() && results.front().split == "validation") see(step, results.front().loss);
    draw(step);
  }
  bool stops_here() override { return pruned_; }
  std::atomic<int>* stop_flag() override { return &catch_stop_signals(); }
  Json own_options() const override { return {{"quiet", false}, {"json", false}}; }
  bool wants_samples() const override { return false; }
  std::string spelled(const std::string& field) const override { return "--" + field; }

  /// What the trial came to.
  Trial trial(std::int64_t number, train::Assignment options) const {
    return {number, std::move(options), pruned_ ? Trial::State::kPruned : Trial::State::kComplete,
            best_,  last_step_,         rungs_,
            ""};
  }

 private:
  void see(std::int64_t step, double loss) {
    last_step_ = step;
    if (!best_ || loss < *best_) best_ = loss;
    const auto& rungs = pruner_->rungs();
    while (rungs_.size() < rungs.size() && step >= rungs[rungs_.size()] && step < steps_) {
      rungs_.emplace_back(rungs[rungs_.size()], *best_);
      if (prunes_ && !pruner_->goes_on(rungs_.back().first, *best_, finished_)) pruned_ = true;
    }
  }

  void draw(std::int64_t step) {
    bar_.draw(step, steps_, title_ + (best_ ? fmt::format("  best {:.4f}", *best_) : ""));
  }

  Bar bar_;
  std::string title_;
  bool prunes_;
  const std::vector<Trial>& finished_;
  std::vector<std::pair<std::int64_t, double>> earlier_;
  std::optional<train::Pruner> pruner_;
  std::vector<std::pair<std::int64_t, double>> rungs_;
  std::optional<double> best_;
  std::int64_t steps_ = 0, last_step_ = 0;
  bool pruned_ = false;
};

class Sweep {
 public:
  Sweep(const Options& options, const Console& console)
      : options_(options),
        console_(console),
        space_(read_space(options.positional(0), finetune())),
        out_(options.text("out")),
        count_(options.integer_in("trials", 1, 1'000'000)),
        seed_(static_cast<std::uint64_t>(options.integer("seed"))) {
    const std::string sampler = options.text("sampler");
    sampler_ = sampler == "grid"     ? train::Sampler::kGrid
               : sampler == "random" ? train::Sampler::kRandom
                                     : train::Sampler::kTpe;
    for (const train::Dimension& d : space_.dimensions())
      if (options.given(d.name))
        options.fail(d.name,
                     fmt::format("is fixed here, but {} searches over it; leave it out of one", options.positional(0)));
    if (asks_for_several_runs(spec_of<recipes::FinetuneSpec>(options.for_verb(finetune(), {}, "", 1)).little))
      throw ConfigError("--folds, --seeds and --learning-curve are not for a sweep, whose trials are one run each");
    if (!options.has("val-data") && options.number("val-split") == 0)
      options.fail("val-split", "a sweep chooses by validation; give --val-data, or a share above 0");
    check_choices();
    if (sampler_ == train::Sampler::kGrid) {
      const auto all = static_cast<std::int64_t>(space_.grid().size());
      if (!options.given("trials") || count_ > all) count_ = all;
    }
  }

  int run() {
    if (options_.flag("dry-run")) {
      print_opening();
      console_.line("dry run: nothing was trained or written");
      return 0;
    }
    open();
    print_opening();
    for (const Trial& trial : trials_) print_row(trial);
    while (static_cast<std::int64_t>(trials_.size()) < count_) {
      const auto number = static_cast<std::int64_t>(trials_.size());
      const auto assignment = train::next_trial(sampler_, space_, number, trials_, seed_);
      if (!assignment) break;
      const int code = run_trial(number, *assignment);
      if (code != 0) {
        console_.line(
            fmt::format("stopped in trial {} of {}; go on with the same command and --resume", number, count_));
        return code;
      }
      recipes::write_trials(out_ / "trials.jsonl", trials_);
      write_best();
      write_page();
      print_row(trials_.back());
    }
    close();
    return 0;
  }

 private:
  /// Values that no adapter can have show before anything is read or run.
  void check_choices() const {
    for (const train::Dimension& d : space_.dimensions()) {
      for (const Json& value : d.choices) {
        auto trial = spec_of<recipes::FinetuneSpec>(trial_options({{d.name, value}}, out_, false));
        if (trial.adapter.method == "lora") recipes::lora_config(trial.adapter, recipes::fields_of(trial));
      }
    }
  }

  /// The folder: locked, new or resumed.
  void open() {
    const bool resume = resumes(options_);
    core::make_folder(out_);
    lock_ = std::make_unique<core::DirectoryLock>(out_);
    core::sweep_temporaries(out_);
    const Json identity = this->identity();
    const fs::path file = out_ / "sweep.json";
    if (options_.flag("overwrite")) {
      for (const char* name : {"sweep.json", "trials.jsonl", "best.json", "report.html"}) fs::remove(out_ / name);
      fs::remove_all(out_ / "trials");
    }
    if (!fs::exists(file)) {
      if (!fs::is_empty(out_) && fs::exists(out_ / "run.json"))
        throw ConfigError(fmt::format("{} holds a run; name another folder for the sweep", out_.string()));
      core::write_file(file, identity.dump(2) + "\n");
      return;
    }
    if (!resume)
      throw ConfigError(fmt::format("{} holds a sweep: go on with --resume, or --overwrite it", out_.string()));
    const Json before = core::read_json(file);
    for (const auto& [key, value] : identity.items()) {
      if (!before.contains(key) || before[key] != value)
        throw ConfigError(
            fmt::format("{} is of a sweep with another {}: {} then, {} now; resume with the same, or --overwrite it",
                        file.string(), key, before.contains(key) ? before[key].dump() : "none", value.dump()));
    }
    trials_ = recipes::read_trials(out_ / "trials.jsonl");
  }

  /// What must be the same for a sweep to be gone on with. More --trials may be asked for.
  Json identity() const {
    Json same = {{"space", core::sha256_file(options_.positional(0))}, {"model", options_.positional(1)}};
    const Json resolved = options_.resolved();
    for (const OptionSpec& option : options_.verb().options)
      if (option.name != "trials" && option.identity != recipes::Identity::kFree)
        same["--" + option.name] = resolved[option.name];
    return same;
  }

  Options trial_options(const train::Assignment& assignment, const fs::path& out, bool resume) const {
    std::map<std::string, Json> changes;
    for (const auto& [name, value] : assignment) changes[name] = value;
    changes["out"] = out.string();
    for (const char* flag : {"overwrite", "force", "dry-run", "json", "quiet"}) changes[flag] = false;
    changes["resume"] = resume;
    return options_.for_verb(finetune(), changes, options_.positional(0), 1);
  }

  /// Runs a trial, or goes on with it, and adds it to trials_. Not 0: a signal came.
  int run_trial(std::int64_t number, const train::Assignment& assignment) {
    const fs::path folder = out_ / "trials" / fmt::format("trial-{:04}", number);
    core::make_folder(folder.parent_path());
    TrialView view(console_, fmt::format("trial {} of {}  {}", number, count_, words(assignment)),
                   options_.text("pruner") == "asha", trials_, folder);
    const Options options = trial_options(assignment, folder, true);
    try {
      const recipes::ModelResult outcome = recipes::finetune(spec_of<recipes::FinetuneSpec>(options), view, base_);
      if (outcome.state == recipes::RunResult::State::kStopped) return 128 + outcome.training->signal;
      if (outcome.state == recipes::RunResult::State::kWasFinished) {  // finished before a kill that came before
                                                                       // trials.jsonl was written
        const std::int64_t steps =
            core::read_json(folder / "run.json").at("totals").at("planned_steps").get<std::int64_t>();
        view.on_start(steps, steps);
      }
    } catch (const DataError& error) {
      // A run that diverged is a result; data that can't be read is not.
      if (validation_losses(folder).empty()) throw;
      trials_.push_back({number, assignment, Trial::State::kFailed, std::nullopt, 0, {}, error.what()});
      return 0;
    } catch (const ConfigError& error) {
      // So is a combination that can't be; but the first trial's error may well lie in what is the same for all.
      if (trials_.empty()) {
        throw ConfigError(
            fmt::format("the first trial ({}): {} (of a combination that can't be: a `when:` in {} leaves it out)",
                        words(assignment), error.what(), options_.positional(0)));
      }
      trials_.push_back({number, assignment, Trial::State::kFailed, std::nullopt, 0, {}, error.what()});
      return 0;
    } catch (const Error& error) {
      throw Error(error.kind(), fmt::format("trial {} ({}): {}", number, words(assignment), error.what()));
    }
    Trial trial = view.trial(number, assignment);
    if (!trial.value)
      throw ConfigError(
          "a sweep chooses by validation, and this data leaves none: give --val-data, or a larger --val-split");
    trials_.push_back(std::move(trial));
    return 0;
  }

  const Trial* best() const {
    const Trial* best = nullptr;
    for (const Trial& trial : trials_) {
      if (trial.state == Trial::State::kComplete && (best == nullptr || *trial.value < *best->value)) best = &trial;
    }
    return best;
  }

  Json best_json() const {
    const Trial* const found = best();
    if (found == nullptr) return nullptr;
    return {{"trial", found->number},
            {"options", recipes::to_json(found->options)},
            {"value", *found->value},
            {"command", trial_options(found->options, out_ / "best", false).command_line()}};
  }

  void write_best() const {
    if (best() != nullptr) core::write_file(out_ / "best.json", best_json().dump(2) + "\n");
  }

  void write_page() const {
    std::vector<std::pair<std::string, std::string>> facts = {
        {"model", options_.positional(1)},
        {"trials", fmt::format("{} of {}, sampler {}, pruner {}", trials_.size(), count_, options_.text("sampler"),
                               options_.text("pruner"))}};
    if (const Trial* const found = best()) {
      facts.emplace_back("best", fmt::format("trial {}, {:.4f} nats a token on validation ({})", found->number,
                                             *found->value, words(found->options)));
      facts.emplace_back("again", best_json()["command"].get<std::string>());
    }
    core::write_file(out_ / "report.html", recipes::sweep_page(space_, trials_, facts, options_.command_line()));
  }

  void print_opening() const {
    if (console_.silent()) return;
    std::vector<std::pair<std::string, std::string>> lines;
    for (const train::Dimension& d : space_.dimensions()) {
      std::string values;
      if (d.scale == train::Dimension::Scale::kChoice) {
        for (const Json& choice : d.choices)
          values += (values.empty() ? "" : ", ") + (choice.is_string() ? choice.get<std::string>() : choice.dump());
      } else {
        values = fmt::format("{} to {}{}", d.low, d.high, d.scale == train::Dimension::Scale::kLog ? " (log)" : "");
      }
      if (d.when) {
        values += "  when " + d.when->first + " is";
        for (const Json& value : d.when->second)
          values += " " + (value.is_string() ? value.get<std::string>() : value.dump());
      }
      lines.emplace_back(d.name, values);
    }
    lines.emplace_back(
        "trials", fmt::format("{}, sampler {}, pruner {}", count_, options_.text("sampler"), options_.text("pruner")));
    print_out(fields(lines));
    console_.line();
    console_.line("trial  state       value   options");
  }

  void print_row(const Trial& trial) const {
    const Trial* const top = best();
    const Json json = recipes::to_json(trial);
    console_.line(fmt::format("{:>5}  {:<8}  {:>7} {} {}", trial.number, json["state"].get<std::string>(),
                              trial.value ? fmt::format("{:.4f}", *trial.value) : "-",
                              top != nullptr && top->number == trial.number ? "*" : " ", words(trial.options)) +
                  (trial.reason.empty() ? "" : ": " + trial.reason));
  }

  void close() const {
    const Trial* const found = best();
    console_.line();
    if (found == nullptr) {
      console_.line("no trial ran to its end");
    } else {
      console_.line(fmt::format("best: trial {} with {:.4f} nats a token on validation ({})", found->number,
                                *found->value, words(found->options)));
      console_.line("again: " + best_json()["command"].get<std::string>());
    }
    if (!trials_.empty()) console_.line(fmt::format("{}: trials.jsonl, best.json, report.html", out_.string()));
    Json all = Json::array();
    for (const Trial& trial : trials_) all.push_back(recipes::to_json(trial));
    console_.result({{"trials", all}, {"best", best_json()}, {"out", out_.string()}});
  }

  const Options& options_;
  const Console& console_;
  train::SearchSpace space_;
  fs::path out_;
  std::int64_t count_;
  std::uint64_t seed_;
  train::Sampler sampler_ = train::Sampler::kTpe;
  std::unique_ptr<core::DirectoryLock> lock_;
  std::shared_ptr<recipes::SharedBase> base_ = std::make_shared<recipes::SharedBase>(true);
  std::vector<Trial> trials_;
};

int sweep(const Options& options) {
  const Console console(options);
  return Sweep(options, console).run();
}

}  // namespace

Verb sweep_verb() {
  Verb verb;
  verb.name = "sweep";
  verb.summary = "Search over options: many fine-tuning runs, chosen by validation loss";
  verb.positionals = {"SPACE.yaml", "MODEL"};
  verb.example = "lowrank sweep space.yaml MODEL --data corpus/ --out sweeps/art --trials 30";
  verb.options = {
      {"trials", OptionType::kInt, "N", 20, "Search", "Trials in all (a grid: all of it)", {}},
      {"sampler", OptionType::kText, "NAME", "tpe", "Search", "How options are drawn", {"grid", "random", "tpe"}},
      {"pruner",
       OptionType::kText,
       "NAME",
       "none",
       "Search",
       "asha: trials that fall behind end early",
       {"none", "asha"}},
  };
  // The rest are finetune's, fixed for all trials.
  verb.options.insert(verb.options.end(), finetune().options.begin(), finetune().options.end());
  verb.run = sweep;
  return verb;
}

}  // namespace lowrank::apps
