#include "lowrank/recipes/repeated_runs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/number.h"
#include "lowrank/recipes/run/adapter_facts.h"
#include "lowrank/recipes/run/finished_run.h"
#include "lowrank/recipes/run/out_folder.h"
#include "lowrank/recipes/run/preset.h"
#include "lowrank/recipes/run/run_inputs.h"
#include "lowrank/recipes/run/run_data.h"
#include "lowrank/recipes/run/training_run.h"
#include "lowrank/recipes/search/ledger.h"
#include "lowrank/train/out_place.h"
#include "lowrank/train/put_aside.h"
#include "lowrank/train/run_folder.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;
using core::Json;
constexpr double kWorthwhile = 0.01;  // of perplexity, by another doubling of the data
constexpr auto kLook = std::chrono::milliseconds(300);  // for runs of other processes

struct Repetition {
  std::string name;  // of its folder, and its row
  std::map<std::string, Json> changes;
};

std::vector<Repetition> repetitions(const FinetuneSpec& spec, const Fields& fields) {
  std::vector<Repetition> all;
  if (spec.little.folds) {
    const std::int64_t folds = *spec.little.folds;
    if (spec.data.has_validation()) fields.fail("folds", "takes its validation data from `data`; leave `val-data` out");
    for (std::int64_t i = 1; i <= folds; ++i) {
      all.push_back({fmt::format("fold-{}", i), {{"folds", nullptr}, {"fold", fmt::format("{}/{}", i, folds)}}});
    }
  } else if (spec.little.seeds) {
    const std::int64_t first = spec.train.seed;
    const auto split = static_cast<std::int64_t>(split_seed(spec.data, spec.train));  // one: only the training differs
    for (std::int64_t i = 0; i < *spec.little.seeds; ++i) {
      all.push_back(
          {fmt::format("seed-{}", first + i), {{"seeds", nullptr}, {"seed", first + i}, {"split-seed", split}}});
    }
  } else {
    for (const int part : {8, 4, 2, 1}) {
      all.push_back({part == 1 ? "share-1" : fmt::format("share-1-{}", part),
                     {{"learning-curve", false}, {"share", 1.0 / part}}});
    }
  }
  // They are compared with each other: on the whole of the same data.
  if (!spec.task && !spec.given.contains("eval-budget"))
    for (Repetition& one : all) one.changes["eval-budget"] = 1.0;
  for (Repetition& one : all) one.changes["out"] = (fs::path(spec.run.out) / one.name).string();
  return all;
}

/// The adapter that each of them starts from.
std::optional<fs::path> start_of(const FinetuneSpec& spec, const models::Resolved& resolved) {
  return spec.adapter.adapter ? std::optional(adapter_folder(*spec.adapter.adapter, "adapter")) : resolved.adapter;
}

/// Runs without a figure would be a table of nothing.
void require_figures(const FinetuneSpec& spec, const Fields& fields) {
  const bool validates = spec.little.folds || spec.data.has_validation() || spec.data.val_split > 0 ||
                         !validation_paths(fields, spec.data).paths.empty();
  if (validates || (spec.little.seeds && spec.data.has_general())) return;
  fields.fail(spec.little.seeds ? "seeds" : "learning-curve",
              "compares validation losses, and with `val-split` 0 there are none; give `val-data`, or leave `val-split` out");
}

FinetuneSpec changed(const FinetuneSpec& spec, const Repetition& one) {
  FinetuneSpec its = spec;
  its.run.command.clear();
  Fields fields = fields_of(its);
  for (const auto& [name, value] : one.changes) fields.set(name, value, "command line");
  return its;
}

/// Mean, sample standard deviation and range.
Json spread(const std::vector<double>& values) {
  double mean = 0, squares = 0;
  for (const double value : values) mean += value / static_cast<double>(values.size());
  for (const double value : values) squares += (value - mean) * (value - mean);
  const double deviation = values.size() > 1 ? std::sqrt(squares / static_cast<double>(values.size() - 1)) : 0;
  return {{"mean", mean},
          {"std", deviation},
          {"min", *std::min_element(values.begin(), values.end())},
          {"max", *std::max_element(values.begin(), values.end())},
          {"runs", values.size()}};
}

Json outcome(const Repetition& one, const fs::path& folder) {
  const Json run = core::read_json(folder / "run.json");
  return {{"name", one.name},
          {"folder", folder.string()},
          {"before", run["result"]["before"]},
          {"after", run["result"]["after"]},
          {"steps", run["totals"]["steps"]},
          {"best_step", run["result"]["best_step"]},
          {"train_tokens", run["data"]["train"]["tokens"]}};
}

/// The runs as a space of one option: which of them.
train::SearchSpace names_of(const std::vector<Repetition>& all) {
  train::Dimension run;
  run.name = "run";
  for (const Repetition& one : all) run.choices.emplace_back(one.name);
  return {{run}, "the runs"};
}

const Repetition& named(const std::vector<Repetition>& all, const train::Assignment& options) {
  const Json* const name = train::value_of(options, "run");
  for (const Repetition& one : all)
    if (name != nullptr && *name == one.name) return one;
  throw ConfigError("the study has a trial that is none of these runs; name another `study-name`");
}

std::unique_ptr<Ledger> own_runs(const train::SearchSpace& space) {
  return list_of_trials({}, [grid = space.grid()](std::int64_t number, const std::vector<train::Trial>&) {
    return std::optional(grid.at(static_cast<std::size_t>(number)));
  });
}

std::unique_ptr<Ledger> shared_runs(const FinetuneSpec& spec, const StudySpec& study, const Fields& fields,
                                    const train::SearchSpace& space) {
  if (spec.run.overwrite)
    fields.fail("overwrite", "does not go with `storage`, on which other processes may be at work; give another "
                             "`study-name` and `out`");
  Json identity = {{"model", spec.model}};
  const auto add = [&](const Fields& own) {
    for (const FieldInfo& field : own.info())
      if (field.identity != Identity::kFree) identity["--" + field.name] = own.get(field.name);
  };
  StudySpec of_study = study;
  add(fields);
  add(fields_of(of_study));
  const fs::path out = spec.run.out;
  const auto choose = [grid = space.grid()](std::int64_t, const std::vector<train::Trial>&,
                                            const std::vector<train::Assignment>& taken) {
    for (const train::Assignment& one : grid)
      if (std::find(taken.begin(), taken.end(), one) == taken.end()) return std::optional(one);
    return std::optional<train::Assignment>();
  };
  const auto folder = [out, grid = space.grid()](std::int64_t number) {
    return out / train::value_of(grid.at(static_cast<std::size_t>(number) % grid.size()), "run")->get<std::string>();
  };
  return shared_study(study, out, space, identity, choose, folder);
}

/// Of the runs that ended, in order.
Json outcomes(const std::vector<Repetition>& all, const std::vector<train::Trial>& ended) {
  Json runs = Json::array();
  for (const Repetition& one : all) {
    const bool has_ended = std::any_of(ended.begin(), ended.end(), [&](const train::Trial& trial) {
      const Json* const name = train::value_of(trial.options, "run");
      return name != nullptr && *name == one.name && trial.state == train::Trial::State::kComplete;
    });
    if (has_ended) runs.push_back(outcome(one, one.changes.at("out").get<std::string>()));
  }
  return runs;
}

}  // namespace

std::optional<double> loss_of(const Json& results, const std::string& split) {
  for (const Json& result : results) {
    if (result["split"] == split) return result["loss"].get<double>();
  }
  return std::nullopt;
}

std::string loss_change(std::optional<double> before, std::optional<double> after) {
  if (!before || !after) return "-";
  return fmt::format("{:.4f} -> {:.4f} ({} %)", *before, *after, core::format_change(100 * std::expm1(*after - *before)));
}

bool asks_for_several_runs(const LittleDataSpec& spec) {
  const int asked = (spec.folds ? 1 : 0) + (spec.seeds ? 1 : 0) + (spec.learning_curve ? 1 : 0);
  if (asked > 1)
    throw ConfigError("`folds`, `seeds` and `learning-curve` each make runs of their own; give one of them");
  return asked == 1;
}

LearningCurve learning_curve(const std::vector<double>& losses) {
  if (losses.size() < 3) throw InternalError("learning_curve: at least three losses are expected");
  LearningCurve curve;
  curve.last_gain = losses[losses.size() - 2] - losses.back();
  const double before = losses[losses.size() - 3] - losses[losses.size() - 2];
  const double trend = before > 0 ? std::clamp(curve.last_gain / before, 0.0, 1.0) : 1.0;
  curve.next_gain = std::max(0.0, curve.last_gain) * trend;
  curve.more_helps = -std::expm1(-curve.next_gain) >= kWorthwhile;
  return curve;
}

RepeatedResult finetune_repeatedly(const FinetuneSpec& asked, Observer& observer, const StudySpec& study) {
  FinetuneSpec spec = asked;
  apply_preset(spec, observer);
  const Fields fields = fields_of(spec);
  fields.check();
  const std::vector<Repetition> all = repetitions(spec, fields);
  require_figures(spec, fields);
  const fs::path out = spec.run.out;
  const auto base = std::make_shared<SharedBase>(true);
  RepeatedResult result;
  result.out = out;
  if (spec.run.dry_run) {
    observer.note(fmt::format("{} runs into folders of {}, the first of them:", all.size(), out.string()));
    static_cast<RunResult&>(result) = finetune(changed(spec, all.front()), observer, base);
    return result;
  }
  train::GradSync& sync = train::or_alone(observer.ranks());
  const bool shared = study.storage.has_value();
  if (sync.ranks() > 1) observer.stop_flag();  // from here on a signal to one stops all
  bool finished = false;
  train::together(sync, [&] {
    if (shared || sync.rank() != 0 || !spec.run.resume || train::run_state(out) != train::RunState::kFinished) return;
    std::vector<Difference> found = differences(options_of_run(out), fields);
    const models::Resolved now = models::resolve(spec.model);
    for (Difference& one : other_inputs(out, fields, now.model, start_of(spec, now))) found.push_back(std::move(one));
    if (!found.empty())
      throw ConfigError(fmt::format("{} holds finished runs of other {} ({}): begin new ones with `{}`", out.string(), kinds_of(found), in_words(found),
                                    fields.command("finetune", {spec.model}, {{"resume", nullptr}, {"out", out.string() + "-2"}})));
    for (const Repetition& one : all)
      if (const std::string restored = restore_result(one.changes.at("out").get<std::string>()); !restored.empty()) observer.note(restored);
    finished = true;
  });
  if (train::largest(sync, finished ? 1 : 0) != 0) {
    observer.note(out.string() + " holds finished runs; nothing was done");
    result.state = RunResult::State::kWasFinished;
    return result;
  }
  const models::Resolved resolved = models::resolve(spec.model);
  std::vector<fs::path> inputs = input_paths(fields);
  inputs.push_back(resolved.model);
  const train::SearchSpace space = names_of(all);
  std::unique_ptr<train::RunFolder> folder;
  std::optional<train::PutAside> replaced;
  std::unique_ptr<Ledger> ledger;
  train::together(sync, [&] {
    if (sync.rank() != 0) return;
    if (!shared) {
      folder = train::open_run_folder(out, spec.run.resume, spec.run.overwrite, inputs);
      // The first of them lies in this folder, which is no longer a run's for it.
      if (spec.run.overwrite && train::run_state(out) != train::RunState::kEmpty) replaced.emplace(out, train::files_of_run(out));
      ledger = own_runs(space);
      return;
    }
    train::check_place(out, inputs);
    core::make_folder(out);
    ledger = shared_runs(spec, study, fields, space);
  });
  ledger = ledger_of_ranks(sync, std::move(ledger));
  Json& json = result.run = {{"lowrank", LOWRANK_VERSION},
                             {"finished", false},
                             {"verb", "finetune"},
                             {"command", command_of("finetune", {spec.model}, fields, spec.run, observer)},
                             {"model", {{"path", resolved.model.string()}, {"name", spec.model}}},
                             {"options", options_of(fields, observer)},
                             {"inputs", inputs_of(fields, resolved.model, start_of(spec, resolved))},
                             {"runs", Json::array()}};
  const auto write = [&] {
    json["runs"] = outcomes(all, ledger->ended());
    train::write_run_json(out, json);
  };
  const auto write_alone = [&] {
    if (sync.rank() != 0) return;
    if (shared) {
      write_together(out, write);
    } else {
      write();
    }
  };
  bool begun = false;  // a mistake that the first of them meets before it writes: none of them was there
  const auto begin = [&] {
    if (begun) return;
    if (replaced) {
      replaced->bring_back();
      folder->remove_old_run();
    }
    write_alone();
    begun = true;
  };

  const std::unique_ptr<Observer> of_part = observer.of_part();
  std::string waits_for;
  while (true) {
    const train::Next next = ledger->next(static_cast<std::int64_t>(all.size()));
    if (!next.claim && next.others.empty()) break;
    if (!next.claim) {
      const std::string text = fmt::format("waiting for {}", fmt::join(next.others, ", "));
      if (text != waits_for) observer.note(waits_for = text);
      const std::atomic<int>* const stop = observer.stop_flag();  // from here on signals are caught
      std::this_thread::sleep_for(kLook);
      result.reason = static_cast<int>(train::largest(sync, stop->load()));
      if (result.reason == 0) continue;
      result.state = RunResult::State::kStopped;
      return result;
    }
    const Repetition& one = named(all, next.claim->options);
    FinetuneSpec its = changed(spec, one);
    its.run.resume = its.run.resume || next.claim->again;
    its.run.begins = begin;
    try {
      core::refuse_link(its.run.out);  // within `out`, which nobody named
      const ModelResult ended = finetune(its, *of_part, base);
      if (ended.state == RunResult::State::kStopped) {
        ledger->give_back(*next.claim);
        result.state = ended.state;
        result.training = ended.training;
        result.reason = ended.training->signal;
        result.stopped_in = one.name;
        return result;
      }
      const Json run = outcome(one, its.run.out);
      const std::optional<double> loss = loss_of(run["after"], "validation");
      if (shared && !loss) throw FieldError("storage", "a study keeps validation losses, and there are none; give `val-data`");
      train::Trial trial;
      trial.number = next.claim->number;
      trial.options = next.claim->options;
      trial.value = loss;
      trial.steps = run["steps"].get<std::int64_t>();
      ledger->end(*next.claim, trial);
      write_alone();
      observer.note(fmt::format("{} of {}: validation {}", one.name, all.size(),
                                loss_change(loss_of(run["before"], "validation"), loss)));
    } catch (const TrialTaken& taken) {
      observer.note(one.name + ": " + taken.what());
    } catch (...) {
      ledger->give_back(*next.claim);
      throw;
    }
  }
  json["runs"] = outcomes(all, ledger->ended());
  if (json["runs"].size() != all.size())
    throw FieldError("storage", "a trial of this study was failed by another program, so that a run is missing; give "
                                "another `study-name`");

  json["model"]["sha256"] = core::read_json(fs::path(all.front().changes.at("out").get<std::string>()) / "run.json")["model"]["sha256"];
  json["summary"] = Json::object();
  for (const char* split : {"validation", "general"}) {
    std::vector<double> losses;
    for (const Json& run : json["runs"]) {
      if (const auto loss = loss_of(run["after"], split)) losses.push_back(*loss);
    }
    if (!losses.empty()) json["summary"][split] = spread(losses);
  }
  if (spec.little.learning_curve) {
    std::vector<double> losses;
    for (const Json& run : json["runs"]) {
      const auto loss = loss_of(run["after"], "validation");
      if (!loss) fields.fail("learning-curve", "compares validation losses, and there are none; give `val-data`");
      losses.push_back(*loss);
    }
    const LearningCurve curve = learning_curve(losses);
    json["learning_curve"] = {
        {"last_gain", curve.last_gain}, {"next_gain", curve.next_gain}, {"more_helps", curve.more_helps}};
  }
  json["finished"] = true;
  write_alone();
  return result;
}

}  // namespace lowrank::recipes
