#include <fmt/format.h>

#include "lowrank/apps/align/align_run.h"
#include "lowrank/apps/classification/score_head.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/data/preferences.h"
#include "lowrank/train/pairs.h"
#include "lowrank/train/reward_model.h"

namespace lowrank::apps {

namespace {

int align_reward(const Options& options) {
  const Console console(options);
  ConsoleProgress progress(console);
  std::optional<models::SequenceClassifier> classifier;
  const auto make = [&](const models::LoadedModel& model, const std::string& base_name,
                        const std::optional<std::filesystem::path>& start) {
    models::LoadedClassifier made = make_classifier(options, start, model, base_name, 1, progress);
    classifier = std::move(made.classifier);
    return std::move(made.adapter);
  };
  std::optional<AlignRun> run = open_align_run(options, console, progress, make);
  if (!run) return 0;
  RunData data = read_pairs(options, *run, progress);

  train::RewardModel::Parts parts{*classifier};
  parts.adapter = &*run->adapter;
  parts.weights = &run->model.weights;
  parts.plan = plan_options(options);
  parts.center = options.number("center-rewards-coefficient");
  parts.seed = parts.plan.seed;
  const std::vector<std::int64_t> lengths = train::pair_lengths(data.train);
  parts.recompute =
      choose_recompute(options, run->earlier, run->model.decoder->config(), data::Plan(lengths, parts.plan), lengths,
                       run->model.decoder->dtype(), run->report);
  run->facts["recompute"] = parts.recompute ? "layer" : "none";
  run->report.shown_metrics = {"accuracy", "margin", "mean_reward"};
  run->report.remarks.emplace_back(
      "objective", fmt::format("-log sigmoid(r chosen - r rejected){}, the reward from a score head at the last token",
                               parts.center > 0 ? fmt::format(" + {} (r chosen + r rejected)^2", parts.center) : ""));
  for (const auto& [name, set] : data.evaluation) {
    run->report.remarks.emplace_back(
        name + " baseline",
        fmt::format("\"shorter wins\" is right in {:.1f} % of the pairs", 100 * data::shorter_wins(set)));
    run->report.findings["shorter_wins"][name] = data::shorter_wins(set);
  }
  run->report.pipeline_tag = "text-classification";
  run->report.usage =
      peft_usage(run->report.model_name, {}) +
      fmt::format("`lowrank align ppo {} --reward adapter:THIS_FOLDER --data prompts.jsonl --out DIR`.\n",
                  run->report.model_name);
  parts.train = std::move(data.train);
  parts.evaluation = std::move(data.evaluation);
  train::RewardModel objective(std::move(parts));
  return train_and_report(options, console, objective, run->report, train_options(options, 1e-4), run->facts).exit_code;
}

}  // namespace

Verb align_reward_verb() {
  Verb verb;
  verb.name = "align reward";
  verb.summary = "Learn what is preferred as one number, for align ppo; writes a PEFT adapter with a score head";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank align reward models/SmolLM2-135M --data pairs.jsonl --out runs/reward";
  std::vector<OptionSpec> own = pair_options();
  own.push_back({"center-rewards-coefficient",
                 OptionType::kNumber,
                 "X",
                 0,
                 "Preferences",
                 "Weight of (r chosen + r rejected)^2, which keeps rewards about 0",
                 {}});
  verb.options = align_options(std::move(own), "1e-4");
  verb.run = align_reward;
  return verb;
}

}  // namespace lowrank::apps
