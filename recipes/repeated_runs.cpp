#include "lowrank/apps/training/repeated_runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "lowrank/apps/training/training_options.h"
#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/parts.h"
#include "lowrank/train/run_folder.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;
using core::Json;
constexpr double kWorthwhile = 0.01;  // of perplexity, by another doubling of the data

struct Repetition {
  std::string name;  // of its folder, and its row
  std::map<std::string, Json> changes;
};

std::vector<Repetition> repetitions(const Options& options) {
  std::vector<Repetition> all;
  if (options.has("folds")) {
    const std::int64_t folds = options.integer_in("folds", 2, 1000);
    if (options.has("val-data")) options.fail("folds", "takes its validation data from --data; leave --val-data out");
    for (std::int64_t i = 1; i <= folds; ++i) {
      all.push_back({fmt::format("fold-{}", i), {{"folds", nullptr}, {"fold", fmt::format("{}/{}", i, folds)}}});
    }
  } else if (options.has("seeds")) {
    const std::int64_t seeds = options.integer_in("seeds", 2, 1000), first = options.integer("seed");
    const auto split = static_cast<std::int64_t>(split_seed(options));  // one for all: only the training differs
    for (std::int64_t i = 0; i < seeds; ++i) {
      all.push_back(
          {fmt::format("seed-{}", first + i), {{"seeds", nullptr}, {"seed", first + i}, {"split-seed", split}}});
    }
  } else {
    for (const int part : {8, 4, 2, 1}) {
      all.push_back({part == 1 ? "share-1" : fmt::format("share-1-{}", part),
                     {{"learning-curve", false}, {"share", 1.0 / part}}});
    }
  }
  for (Repetition& one : all) {
    one.changes["out"] = (fs::path(options.text("out")) / one.name).string();
    one.changes["quiet"] = true;
    one.changes["json"] = false;
  }
  return all;
}

/// The loss of a set in "before" or "after" of a run's result; nothing where it was not measured.
std::optional<double> loss_of(const Json& results, const std::string& split) {
  for (const Json& result : results) {
    if (result["split"] == split) return result["loss"].get<double>();
  }
  return std::nullopt;
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

std::string change(std::optional<double> before, std::optional<double> after) {
  if (!before || !after) return "-";
  return fmt::format("{:.4f} -> {:.4f} ({:+.1f} %)", *before, *after, 100 * std::expm1(*after - *before));
}

void print_runs(const Json& runs, const Json& summary, const Console& console) {
  if (console.silent()) return;
  std::vector<std::string> header = {"run", "training tokens", "steps"};
  for (const auto& [split, unused] : summary.items()) header.push_back(split + " loss (perplexity)");
  std::vector<std::vector<std::string>> rows;
  for (const Json& run : runs) {
    std::vector<std::string> row = {run["name"], core::format_count(run["train_tokens"]),
                                    core::format_count(run["steps"])};
    for (const auto& [split, unused] : summary.items())
      row.push_back(change(loss_of(run["before"], split), loss_of(run["after"], split)));
    rows.push_back(std::move(row));
  }
  print_out("\n" + table(header, rows) + "\n");
}

}  // namespace

std::vector<OptionSpec> little_data_options() {
  const std::string group = "Little data";
  return {
      {"preset",
       OptionType::kText,
       "NAME",
       nullptr,
       group,
       "few-shot: options for tens to hundreds of documents; given ones win",
       {"few-shot"}},
      {"folds",
       OptionType::kInt,
       "K",
       nullptr,
       group,
       "Cross-validation: K runs into folders of --out, mean and spread",
       {}},
      {"seeds", OptionType::kInt, "N", nullptr, group, "N runs with seeds from --seed on, mean and spread", {}},
      {"learning-curve",
       OptionType::kFlag,
       "",
       false,
       group,
       "Runs on 1/8, 1/4, 1/2 and all of the data: would more help?",
       {}},
      {"fold",
       OptionType::kText,
       "I/K",
       nullptr,
       group,
       "Validate on fold I of K of the documents, train on the rest",
       {}},
      {"share",
       OptionType::kNumber,
       "F",
       nullptr,
       group,
       "Train on this share of the documents (smaller ones are part of larger)",
       {}},
  };
}

data::Split held_out_fold(const Options& options, const data::Dataset& all) {
  const std::string text = options.text("fold");
  const std::size_t slash = text.find('/');
  int index = 0, folds = 0;
  const char* end = text.data() + text.size();
  const bool read = slash != std::string::npos &&
                    std::from_chars(text.data(), text.data() + slash, index).ptr == text.data() + slash &&
                    std::from_chars(text.data() + slash + 1, end, folds).ptr == end;
  if (!read || folds < 2 || index < 1 || index > folds) {
    options.fail("fold",
                 fmt::format("expected I/K with I from 1 to K, such as 2/5, found '{}'", core::printable(text)));
  }
  if (options.has("val-data")) options.fail("fold", "takes the validation data from --data; leave --val-data out");
  return data::fold(all, index, folds, split_seed(options));
}

double training_share(const Options& options) {
  const double share = options.number_in("share", 0, 1);
  if (share == 0) options.fail("share", "0 leaves nothing to train on; give a share such as 0.25");
  return share;
}

bool asks_for_several_runs(const Options& options) {
  int asked = 0;
  for (const char* name : {"folds", "seeds"}) asked += options.has(name) ? 1 : 0;
  asked += options.flag("learning-curve") ? 1 : 0;
  if (asked > 1)
    throw ConfigError("--folds, --seeds and --learning-curve each make runs of their own; give one of them");
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

int run_several(const Options& options, const Console& console, SharedBase& base) {
  const std::vector<Repetition> all = repetitions(options);
  const fs::path out = options.text("out");
  if (options.flag("dry-run")) {
    console.line(fmt::format("{} runs into folders of {}, the first of them:", all.size(), out.string()));
    auto changes = all.front().changes;
    changes["quiet"] = options.flag("quiet");
    changes["json"] = options.flag("json");
    return run_finetune(options.for_verb(options.verb(), changes, "command line"), console, base).exit_code;
  }
  const bool resume = options.flag("resume");
  if (resume && train::run_state(out) == train::RunState::kFinished) {
    console.line(out.string() + " holds finished runs; nothing was done");
    return 0;
  }
  const models::Resolved resolved = models::resolve(options.positional(0));
  const auto lock = train::open_run_folder(out, resume, options.flag("overwrite"), {resolved.model});
  Json json = {{"lowrank", LOWRANK_VERSION},
               {"finished", false},
               {"verb", "finetune"},
               {"command", options.command_line()},
               {"options", options.resolved()},
               {"runs", Json::array()}};
  train::write_run_json(out, json);

  for (const Repetition& one : all) {
    const Options its = options.for_verb(options.verb(), one.changes, "command line");
    const RunOutcome ended = run_finetune(its, Console(its), base);
    if (ended.exit_code != 0) {
      console.line(fmt::format("stopped in {}; go on with the same command and --resume", one.name));
      return ended.exit_code;
    }
    json["runs"].push_back(outcome(one, its.text("out")));
    train::write_run_json(out, json);
    const Json& run = json["runs"].back();
    console.line(fmt::format("{} of {}: validation {}", one.name, all.size(),
                             change(loss_of(run["before"], "validation"), loss_of(run["after"], "validation"))));
  }

  Json summary = Json::object();
  for (const char* split : {"validation", "general"}) {
    std::vector<double> losses;
    for (const Json& run : json["runs"]) {
      if (const auto loss = loss_of(run["after"], split)) losses.push_back(*loss);
    }
    if (!losses.empty()) summary[split] = spread(losses);
  }
  json["summary"] = summary;
  print_runs(json["runs"], summary, console);
  if (options.flag("learning-curve")) {
    std::vector<double> losses;
    for (const Json& run : json["runs"]) {
      const auto loss = loss_of(run["after"], "validation");
      if (!loss) options.fail("learning-curve", "compares validation losses, and there are none; give --val-data");
      losses.push_back(*loss);
    }
    const LearningCurve curve = learning_curve(losses);
    json["learning_curve"] = {
        {"last_gain", curve.last_gain}, {"next_gain", curve.next_gain}, {"more_helps", curve.more_helps}};
    console.line(fmt::format(
        "the last doubling of the data lowered the validation loss by {:.4f} nats; another would by about {:.4f} "
        "(perplexity {:+.1f} %): {}",
        curve.last_gain, curve.next_gain, 100 * std::expm1(-curve.next_gain),
        curve.more_helps ? "more data would help" : "more data would help little"));
  } else {
    for (const auto& [split, s] : summary.items()) {
      console.line(fmt::format("{}: mean {:.4f}, standard deviation {:.4f}, {:.4f} to {:.4f} over {} runs", split,
                               s["mean"].get<double>(), s["std"].get<double>(), s["min"].get<double>(),
                               s["max"].get<double>(), s["runs"].get<int>()));
    }
  }
  json["finished"] = true;
  train::write_run_json(out, json);
  console.result(json);
  return 0;
}

}  // namespace lowrank::apps
