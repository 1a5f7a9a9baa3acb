#include "lowrank/recipes/search/sweep.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <optional>
#include <set>
#include <thread>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"
#include "lowrank/recipes/repeated_runs.h"
#include "lowrank/recipes/run/out_folder.h"
#include "lowrank/recipes/search/ledger.h"
#include "lowrank/recipes/search/sweep_page.h"
#include "lowrank/recipes/search/sweep_trials.h"
#include "lowrank/recipes/spec/settings.h"
#include "lowrank/train/out_place.h"
#include "lowrank/train/pruner.h"
#include "lowrank/train/put_aside.h"
#include "lowrank/train/ranks/peer.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;
using core::Json;
using train::Claim;
using train::Trial;

constexpr auto kLook = std::chrono::milliseconds(300);  // for trials of others
constexpr int kTaken = 1000;  // beside the signals, why a trial stops: it was given to another process

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

/// Follows one trial, and says whether it goes on at its rungs. Of ranks that work on it together the first one's does.
class TrialWatcher : public QuietObserver {
 public:
  TrialWatcher(SweepObserver& observer, TrialProgress progress, bool prunes, Ledger& ledger, const Claim& claim,
               const fs::path& run)
      : QuietObserver(observer),
        observer_(observer),
        progress_(progress),
        prunes_(prunes),
        ledger_(ledger),
        claim_(claim),
        speaks_for_others_(ranks() != nullptr && ranks()->ranks() > 1 && ranks()->rank() == 0),
        earlier_(validation_losses(run)) {}

  void on_start(std::int64_t first_step, std::int64_t steps) override {
    progress_.steps = steps;
    pruner_.emplace(steps);
    for (const auto& [step, loss] : earlier_)
      if (step <= first_step) see(step, loss);
    at(first_step);
  }
  void on_micro(std::int64_t, std::int64_t, std::int64_t) override { look(); }
  void on_step(const train::StepMetrics& metrics) override { at(metrics.step); }
  void on_eval(std::int64_t step, const std::vector<train::EvalResult>& results, bool) override {
    if (!results.empty() && results.front().split == "validation") see(step, results.front().loss);
    at(step);
  }
  bool stops_here() override { return pruned_; }
  std::atomic<int>* stop_flag() override { return speaks_for_others_ ? &stop_ : QuietObserver::stop_flag(); }
  Json own_options() const override {
    Json own = observer_.own_options();
    for (auto& [name, value] : own.items()) value = false;
    return own;
  }
  bool wants_samples() const override { return false; }

  /// What the trial came to.
  Trial trial() const {
    return {progress_.number,
            *progress_.options,
            pruned_ ? Trial::State::kPruned : Trial::State::kComplete,
            progress_.best,
            last_step_,
            rungs_,
            ""};
  }

 private:
  void see(std::int64_t step, double loss) {
    last_step_ = step;
    std::optional<double>& best = progress_.best;
    if (!best || loss < *best) best = loss;
    const auto& rungs = pruner_->rungs();
    while (rungs_.size() < rungs.size() && step >= rungs[rungs_.size()] && step < progress_.steps) {
      rungs_.emplace_back(rungs[rungs_.size()], *best);
      if (prunes_ && !pruner_->goes_on(rungs_.back().first, *best, ledger_.rivals(claim_))) pruned_ = true;
    }
    ledger_.report(claim_, step, loss, rungs_);
  }
  /// A trial that was given away ends at once; other ranks have to be told first, as of a signal.
  void look() {
    const bool taken = ledger_.taken();
    if (speaks_for_others_) {
      stop_ = taken ? kTaken : QuietObserver::stop_flag()->load();
    } else if (taken) {
      throw TrialTaken();
    }
  }
  void at(std::int64_t step) {
    look();
    progress_.step = step;
    observer_.on_trial_progress(progress_);
  }

  SweepObserver& observer_;
  TrialProgress progress_;
  bool prunes_;
  Ledger& ledger_;
  const Claim& claim_;
  const bool speaks_for_others_;
  std::atomic<int> stop_{0};
  std::vector<std::pair<std::int64_t, double>> earlier_;
  std::optional<train::Pruner> pruner_;
  std::vector<std::pair<std::int64_t, double>> rungs_;
  std::int64_t last_step_ = 0;
  bool pruned_ = false;
};

class Sweep {
 public:
  Sweep(SweepSpec& spec, SweepObserver& observer)
      : spec_(spec),
        observer_(observer),
        sync_(train::or_alone(observer.ranks())),
        fields_(fields_of(spec)),
        space_(spec.space, spec.space_name),
        out_(spec.finetune.run.out) {
    const FinetuneSpec& fixed = spec_.finetune;
    result_.count = spec_.trials;
    check(spec_.study, fields_, sync_);
    sampler_ = spec_.sampler == "grid"     ? train::Sampler::kGrid
               : spec_.sampler == "random" ? train::Sampler::kRandom
                                           : train::Sampler::kTpe;
    for (const train::Dimension& d : space_.dimensions())
      if (fields_.given(d.name))
        fields_.fail(d.name,
                     fmt::format("is fixed here, but {} searches over it; leave it out of one", spec_.space_name));
    if (asks_for_several_runs(fixed.little))
      throw ConfigError("`folds`, `seeds` and `learning-curve` are not for a sweep, whose trials are one run each");
    if (!fixed.data.has_validation() && fixed.data.val_split == 0)
      fields_.fail("val-split", "a sweep chooses by validation; give `val-data`, or a share above 0");
    fields_.check();
    check_choices();
    if (sampler_ == train::Sampler::kGrid) {
      const auto all = static_cast<std::int64_t>(space_.grid().size());
      if (!fields_.given("trials") || result_.count > all) result_.count = all;
    }
  }

  SweepResult run() {
    if (spec_.finetune.run.dry_run) {
      observer_.on_sweep(space_, result_.count);
      result_.state = RunResult::State::kDryRun;
      return std::move(result_);
    }
    if (sync_.ranks() > 1) observer_.stop_flag();  // from here on a signal to one stops all
    open();
    observer_.on_sweep(space_, result_.count);
    show();
    while (true) {
      const train::Next next = ledger_->next(result_.count);
      show();
      if (!next.claim && next.others.empty()) break;
      if (!(next.claim ? run_trial(*next.claim) : wait(next.others))) {
        result_.state = RunResult::State::kStopped;
        result_.trials = trials();
        return std::move(result_);
      }
    }
    if (ledger_->shared()) publish();
    result_.trials = trials();
    result_.best = best_json();
    return std::move(result_);
  }

 private:
  const std::vector<Trial>& trials() const { return ledger_->ended(); }

  /// Tells of the trials that have ended since.
  void show() {
    for (const Trial& trial : trials())
      if (shown_.insert(trial.number).second) observer_.on_trial(trial, best() == &trial);
  }

  /// Others work on what is left, and may die over it. False: it was stopped.
  bool wait(const std::vector<std::string>& others) {
    const std::string text = fmt::format("waiting for {}", fmt::join(others, ", "));
    if (text != waits_for_) observer_.note(waits_for_ = text);
    const std::atomic<int>* const stop = observer_.stop_flag();  // from here on signals are caught
    std::this_thread::sleep_for(kLook);
    result_.reason = static_cast<int>(train::largest(sync_, stop->load()));
    return result_.reason == 0;
  }

  /// What the folder says of the trials that have ended.
  void publish() {
    if (!first_rank()) return;
    const auto write = [&] {
      write_trials(out_ / "trials.jsonl", trials());
      result_.best = best_json();
      if (best() != nullptr) core::write_file(out_ / "best.json", core::json_text(result_.best, 2) + "\n");
      write_page();
    };
    if (ledger_->shared()) {
      write_together(out_, write);
    } else {
      write();
    }
  }

  /// Values that no adapter can have show before anything is read or run.
  void check_choices() const {
    for (const train::Dimension& d : space_.dimensions()) {
      for (const Json& value : d.choices) {
        FinetuneSpec trial = trial_spec({{d.name, value}}, out_, false);
        if (trial.adapter.method == "lora") lora_config(trial.adapter, fields_of(trial));
      }
    }
  }

  bool first_rank() const { return sync_.rank() == 0; }

  /// The folder and the trials: rank 0's, where several work on each trial.
  void open() {
    const Json identity = this->identity();
    core::check_utf8(identity);
    core::check_utf8({{"out", out_.string()}});
    train::require_equal(sync_, identity);
    std::unique_ptr<Ledger> own;
    train::together(sync_, [&] {
      if (first_rank()) own = open_folder(identity);
    });
    ledger_ = ledger_of_ranks(sync_, std::move(own));
  }

  /// New, resumed or joined; locked, unless it is shared.
  std::unique_ptr<Ledger> open_folder(const Json& identity) {
    const RunSpec& run = spec_.finetune.run;
    const StudySpec& study = spec_.study;
    if (run.resume && run.overwrite) fields_.fail("overwrite", "contradicts `resume`; give one of them");
    if (study.storage && run.overwrite)
      fields_.fail("overwrite", "does not go with `storage`, on which other processes may be at work; give another "
                                "`study-name` and `out`");
    std::vector<fs::path> inputs = input_paths(fields_);
    inputs.push_back(models::resolve(spec_.finetune.model).model);
    train::check_place(out_, inputs, run.overwrite);
    core::make_folder(out_);
    if (study.storage) {
      write_together(out_, [&] { hold_to(identity, true); });
      return shared_study(
          study, out_, space_, identity,
          [this](std::int64_t number, const std::vector<Trial>& ended, const std::vector<train::Assignment>& all) {
            return draw(number, ended, all);
          },
          [this](std::int64_t number) { return folder_of(number); });
    }
    lock_ = std::make_unique<core::DirectoryLock>(out_);
    std::vector<std::string> replaced;
    if (run.overwrite && fs::exists(out_ / "sweep.json")) replaced = {"sweep.json", "trials.jsonl", "best.json", "report.html", "trials"};
    old_.emplace(out_, replaced);
    const bool there = hold_to(identity, run.resume);
    return list_of_trials(there ? read_trials(out_ / "trials.jsonl") : std::vector<Trial>{},
                          [this](std::int64_t number, const std::vector<Trial>& ended) {
                            return train::next_trial(sampler_, space_, number, ended, seed());
                          });
  }

  /// sweep.json says what the sweep is that the folder holds. True: it holds this one already.
  bool hold_to(Json identity, bool joins) const {
    const fs::path file = out_ / "sweep.json";
    const bool shared = spec_.study.storage.has_value();
    if (!fs::exists(file)) {
      if (!fs::is_empty(out_) && fs::exists(out_ / "run.json"))
        throw ConfigError(fmt::format("{} holds a run; name another folder for the sweep", out_.string()));
      if (shared) identity["shared"] = true;
      core::write_file(file, core::json_text(identity, 2) + "\n");
      return false;
    }
    if (!joins) throw ConfigError(fmt::format("{} holds a sweep: go on with `resume`, or `overwrite` it", out_.string()));
    const Json before = core::read_json(file);
    if (before.contains("shared") != shared)
      throw ConfigError(fmt::format(
          "{} is of a sweep {} a study that processes share; {}, or name another `out`", file.string(),
          shared ? "without" : "on", shared ? "leave `storage` (or the launcher) out" : "give its `storage`"));
    for (const auto& [key, value] : identity.items()) {
      if (!before.contains(key) || before[key] != value)
        throw ConfigError(
            fmt::format("{} is of a sweep with another {}: {} then, {} now; resume with the same, or {}", file.string(),
                        key, before.contains(key) ? core::json_text(before[key]) : "none", core::json_text(value),
                        shared ? "name another `out` and `study-name`" : "`overwrite` it"));
    }
    return true;
  }

  std::uint64_t seed() const { return static_cast<std::uint64_t>(spec_.finetune.train.seed); }

  /// Of a study: a grid's next combination that nobody has, whatever the number; else as by oneself.
  std::optional<train::Assignment> draw(std::int64_t number, const std::vector<Trial>& ended,
                                        const std::vector<train::Assignment>& all) const {
    if (sampler_ != train::Sampler::kGrid) return train::next_trial(sampler_, space_, number, ended, seed());
    for (train::Assignment& one : space_.grid())
      if (std::find(all.begin(), all.end(), one) == all.end()) return std::move(one);
    return std::nullopt;
  }

  fs::path folder_of(std::int64_t number) const { return out_ / "trials" / fmt::format("trial-{:04}", number); }

  /// What must be the same for a sweep to be gone on with. More trials may be asked for.
  Json identity() const {
    Json same = {{"space", spec_.space_hash}, {"model", spec_.finetune.model}};
    for (const FieldInfo& field : fields_.info())
      if (field.name != "trials" && field.identity != Identity::kFree)
        same["--" + field.name] = fields_.get(field.name);
    return same;
  }

  FinetuneSpec trial_spec(const train::Assignment& assignment, const fs::path& out, bool resume) const {
    FinetuneSpec trial = spec_.finetune;
    trial.run.command.clear();
    Fields fields = fields_of(trial);
    for (const auto& [name, given] : spec_.given)
      if (fields.contains(name)) fields.set(name, given.value, given.source);
    for (const char* flag : {"overwrite", "force", "dry-run"}) fields.set(flag, false, spec_.space_name);
    if (!trial.task && !spec_.given.contains("eval-budget"))
      fields.set("eval-budget", 1.0, spec_.space_name);  // trials are compared
    fields.set("out", out.string(), spec_.space_name);
    fields.set("resume", resume, spec_.space_name);
    for (const auto& [name, value] : assignment) fields.set(name, value, spec_.space_name);
    return trial;
  }

  /// Runs a trial, or goes on with it. False: it was stopped.
  bool run_trial(const Claim& claim) {
    try {
      std::optional<Trial> trial = trial_of(claim);
      if (!trial) {
        ledger_->give_back(claim);
        result_.stopped_in = claim.number;
        return false;
      }
      ledger_->end(claim, std::move(*trial));
    } catch (const TrialTaken& taken) {
      observer_.note(fmt::format("trial {}: {} (this one gave no sign of life for too long)", claim.number, taken.what()));
      return true;
    } catch (...) {
      ledger_->give_back(claim);
      throw;
    }
    publish();
    show();
    return true;
  }

  /// What a trial came to; nothing: it was stopped.
  std::optional<Trial> trial_of(const Claim& claim) {
    const std::int64_t number = claim.number;
    const train::Assignment& assignment = claim.options;
    const fs::path folder = folder_of(number);
    if (first_rank()) {
      core::refuse_link(folder.parent_path());
      core::make_folder(folder.parent_path());
      core::refuse_link(folder);
    }
    TrialProgress progress;
    progress.number = number;
    progress.count = result_.count;
    progress.options = &assignment;
    TrialWatcher watcher(observer_, progress, spec_.pruner == "asha", *ledger_, claim, folder);
    try {
      FinetuneSpec spec = trial_spec(assignment, folder, true);
      spec.run.begins = [&] {
        if (old_) old_->forget();
      };
      const ModelResult outcome = finetune(spec, watcher, base_);
      if (outcome.state == RunResult::State::kStopped) {
        if (outcome.training->signal == kTaken) throw TrialTaken();
        result_.reason = outcome.training->signal;
        return std::nullopt;
      }
      if (outcome.state == RunResult::State::kWasFinished) {  // before a kill that came before it was written down
        const std::int64_t steps =
            core::read_json(folder / "run.json").at("totals").at("planned_steps").get<std::int64_t>();
        watcher.on_start(steps, steps);
      }
    } catch (const TrialTaken&) {
      throw;
    } catch (const train::RankLost&) {
      throw;
    } catch (const Error& error) {  // by its kind: another rank's is told as an Error
      // A run that diverged is a result; data that can't be read is not.
      if (error.kind() == ErrorKind::kData) {
        if (first_rank() && validation_losses(folder).empty()) throw;
        return failed(claim, error);
      }
      if (error.kind() != ErrorKind::kConfig)
        throw Error(error.kind(), fmt::format("trial {} ({}): {}", number, words(assignment), error.what()));
      // So is a combination that can't be; but the first trial's error may well lie in what is the same for all.
      if (number == 0 && trials().empty()) {
        throw ConfigError(
            fmt::format("the first trial ({}): {} (of a combination that can't be: a `when:` in {} leaves it out)",
                        words(assignment), error.what(), spec_.space_name));
      }
      return failed(claim, error);
    }
    Trial trial = watcher.trial();
    if (!trial.value && first_rank())
      throw ConfigError(
          "a sweep chooses by validation, and this data leaves none: give `val-data`, or a larger `val-split`");
    return trial;
  }

  Trial failed(const Claim& claim, const Error& error) const {
    const auto spelled = [&](const std::string& name) { return observer_.spelled(name); };
    return {claim.number, claim.options, Trial::State::kFailed, std::nullopt, 0, {}, spell_fields(error.what(), spelled)};
  }

  const Trial* best() const {
    const Trial* best = nullptr;
    for (const Trial& trial : trials()) {
      if (trial.state == Trial::State::kComplete && (best == nullptr || *trial.value < *best->value)) best = &trial;
    }
    return best;
  }

  Json best_json() const {
    const Trial* const found = best();
    if (found == nullptr) return nullptr;
    FinetuneSpec again = trial_spec(found->options, out_ / "best", false);
    if (!spec_.given.contains("threads")) again.run.threads.reset();  // they were this process's share of the machine
    if (sync_.ranks() > 1)  // one process learns from as much a step as they do together
      fields_of(again).set("grad-accum", again.train.grad_accum * sync_.ranks(), spec_.space_name);
    return {{"trial", found->number},
            {"options", to_json(found->options)},
            {"value", *found->value},
            {"command", fields_of(again).command("finetune", {again.model})}};
  }

  void write_page() const {
    std::vector<std::pair<std::string, std::string>> facts = {
        {"model", spec_.finetune.model},
        {"trials",
         fmt::format("{} of {}, sampler {}, pruner {}", trials().size(), result_.count, spec_.sampler, spec_.pruner)}};
    if (const Trial* const found = best()) {
      facts.emplace_back("best", fmt::format("trial {}, {:.4f} nats a token on validation ({})", found->number,
                                             *found->value, words(found->options)));
      facts.emplace_back("again", result_.best["command"].get<std::string>());
    }
    const std::string& command = spec_.finetune.run.command;
    core::write_file(
        out_ / "report.html",
        sweep_page(space_, trials(), facts,
                   command.empty() ? fields_.command("sweep", {spec_.space_name, spec_.finetune.model}) : command));
  }

  SweepSpec& spec_;
  SweepObserver& observer_;
  train::GradSync& sync_;  // who works on each trial together
  Fields fields_;
  train::SearchSpace space_;
  fs::path out_;
  train::Sampler sampler_ = train::Sampler::kTpe;
  std::unique_ptr<core::DirectoryLock> lock_;
  std::optional<train::PutAside> old_;
  std::unique_ptr<Ledger> ledger_;
  std::set<std::int64_t> shown_;
  std::string waits_for_;
  std::shared_ptr<SharedBase> base_ = std::make_shared<SharedBase>(true);
  SweepResult result_;
};

}  // namespace

std::string words(const train::Assignment& options) {
  std::string text;
  for (const auto& [name, value] : options) {
    text += (text.empty() ? "" : " ") + name + "=" + (value.is_string() ? value.get<std::string>() : core::json_text(value));
  }
  return text;
}

void describe(Fields& t, SweepSpec& s) {
  t.group("Search");
  t.add("trials", &s.trials, "N", "Trials in all (a grid: all of it)", {.range = {{1, 1'000'000}}});
  t.add("sampler", &s.sampler, "NAME", "How options are drawn", {.choices = {"grid", "random", "tpe"}});
  t.add("pruner", &s.pruner, "NAME", "asha: trials that fall behind end early", {.choices = {"none", "asha"}});
  describe(t, s.study);
  describe(t, s.finetune);
}

SweepResult sweep(const SweepSpec& asked, SweepObserver& observer) {
  SweepSpec spec = asked;
  return Sweep(spec, observer).run();
}

}  // namespace lowrank::recipes
