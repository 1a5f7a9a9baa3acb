#include "lowrank/recipes/repeated_runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/recipes/run/preset.h"
#include "lowrank/recipes/run/training_run.h"
#include "lowrank/train/run_folder.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;
using core::Json;
constexpr double kWorthwhile = 0.01;  // of perplexity, by another doubling of the data

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
  for (Repetition& one : all) one.changes["out"] = (fs::path(spec.run.out) / one.name).string();
  return all;
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

}  // namespace

std::optional<double> loss_of(const Json& results, const std::string& split) {
  for (const Json& result : results) {
    if (result["split"] == split) return result["loss"].get<double>();
  }
  return std::nullopt;
}

std::string loss_change(std::optional<double> before, std::optional<double> after) {
  if (!before || !after) return "-";
  return fmt::format("{:.4f} -> {:.4f} ({:+.1f} %)", *before, *after, 100 * std::expm1(*after - *before));
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

RepeatedResult finetune_repeatedly(const FinetuneSpec& asked, Observer& observer) {
  FinetuneSpec spec = asked;
  apply_preset(spec, observer);
  const Fields fields = fields_of(spec);
  fields.check();
  const std::vector<Repetition> all = repetitions(spec, fields);
  const fs::path out = spec.run.out;
  const auto base = std::make_shared<SharedBase>(true);
  RepeatedResult result;
  result.out = out;
  if (spec.run.dry_run) {
    observer.note(fmt::format("{} runs into folders of {}, the first of them:", all.size(), out.string()));
    static_cast<RunResult&>(result) = finetune(changed(spec, all.front()), observer, base);
    return result;
  }
  if (spec.run.resume && train::run_state(out) == train::RunState::kFinished) {
    observer.note(out.string() + " holds finished runs; nothing was done");
    result.state = RunResult::State::kWasFinished;
    return result;
  }
  const models::Resolved resolved = models::resolve(spec.model);
  const auto lock = train::open_run_folder(out, spec.run.resume, spec.run.overwrite, {resolved.model});
  Json& json = result.run = {{"lowrank", LOWRANK_VERSION},
                             {"finished", false},
                             {"verb", "finetune"},
                             {"command", command_of("finetune", {spec.model}, fields, spec.run, observer)},
                             {"options", options_of(fields, observer)},
                             {"runs", Json::array()}};
  train::write_run_json(out, json);

  const std::unique_ptr<Observer> of_part = observer.of_part();
  for (const Repetition& one : all) {
    const FinetuneSpec its = changed(spec, one);
    const ModelResult ended = finetune(its, *of_part, base);
    if (ended.state == RunResult::State::kStopped) {
      result.state = ended.state;
      result.training = ended.training;
      result.stopped_in = one.name;
      return result;
    }
    json["runs"].push_back(outcome(one, its.run.out));
    train::write_run_json(out, json);
    const Json& run = json["runs"].back();
    observer.note(fmt::format("{} of {}: validation {}", one.name, all.size(),
                              loss_change(loss_of(run["before"], "validation"), loss_of(run["after"], "validation"))));
  }

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
  train::write_run_json(out, json);
  return result;
}

}  // namespace lowrank::recipes
