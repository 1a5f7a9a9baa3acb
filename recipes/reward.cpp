#include "lowrank/recipes/reward.h"

#include <fmt/format.h>

#include "lowrank/core/table.h"
#include "lowrank/data/mixture.h"
#include "lowrank/data/preferences.h"
#include "lowrank/recipes/classification/score_head.h"
#include "lowrank/recipes/dpo.h"
#include "lowrank/recipes/run/card_parts.h"
#include "lowrank/recipes/run/health.h"
#include "lowrank/recipes/run/run_data.h"
#include "lowrank/recipes/run/training_run.h"
#include "lowrank/train/pairs.h"
#include "lowrank/train/reward_model.h"

namespace lowrank::recipes {

void describe(Fields& t, RewardSpec& s) {
  describe_data(t, s.data, pair_words());
  describe(t, s.data.chat, false);
  t.group("Preferences");
  t.add("center-rewards-coefficient", &s.center_rewards_coefficient, "X",
        "Weight of (r chosen + r rejected)^2, which keeps rewards about 0");
  describe(t, s.adapter);
  describe(t, s.train, {.lr = "1e-4"});
  t.remove("eval-budget");
  describe_dtype(t, s.run);
  describe(t, s.run);
}

ModelResult reward(const RewardSpec& asked, Observer& observer) {
  RewardSpec spec = asked;
  const Fields fields = fields_of(spec);
  ModelResult result;
  TrainingRun run("align reward", spec.model, fields, spec.run, observer);
  if (spec.adapter.add_tokens)
    fields.fail("add-tokens", "is for models that write text, and this one scores it; leave it out");
  run.resolve(spec.adapter);
  if (!run.open(result)) return result;
  const auto base = std::make_shared<SharedBase>(false);
  models::LoadedModel& model = run.load(*base);
  Attached attached(base);
  models::LoadedClassifier made = make_classifier(run, without_dropout(spec.adapter), model, seed_of(spec.train), 1);
  lora::Adapter& adapter = attached.put(std::move(made.adapter));
  run.take(adapter);
  RunData data = read_pairs(run, spec.data, spec.train, model, true);

  train::RewardModel::Parts parts{made.classifier};
  parts.adapter = &adapter;
  parts.weights = &model.weights;
  parts.plan = plan_options(spec.train, spec.data, fields);
  data::weigh(parts.plan, data.train, 2);
  run.share(parts);
  parts.center = spec.center_rewards_coefficient;
  run.carry_chat(*model.tokenizer, model.decoder->config());
  parts.save_extra = run.save_carried();
  parts.seed = parts.plan.seed;
  parts.recompute = run.choose_recompute(*model.decoder, parts.plan, train::pair_lengths(data.train));
  check_health(run, data.train, data.evaluation, *model.tokenizer, model.decoder->config(), spec.train,
               data::Learns::kPairs);
  RunReport& report = run.report;
  report.shown_metrics = {"accuracy", "margin", "mean_reward"};
  report.remarks.emplace_back(
      "objective", fmt::format("-log sigmoid(r chosen - r rejected){}, the reward from a score head at the last token",
                               parts.center > 0 ? fmt::format(" + {} (r chosen + r rejected)^2", parts.center) : ""));
  for (const auto& [name, set] : data.evaluation) {
    const double wins = data::shorter_wins(set);
    report.remarks.emplace_back(name + " baseline",
                                fmt::format("\"shorter wins\" is right in {:.1f} % of the pairs", 100 * wins));
    report.findings["shorter_wins"][name] = wins;
  }
  report.pipeline_tag = "text-classification";
  report.usage = peft_usage(shown_name(report.model_name), {}) +
                 card_inline(fmt::format("lowrank align ppo {} --reward adapter:THIS_FOLDER --data prompts.jsonl --out DIR",
                                         core::shell_quoted(shown_name(report.model_name)))) +
                 ".\n";
  parts.train = std::move(data.train);
  parts.evaluation = std::move(data.evaluation);
  train::RewardModel objective(std::move(parts));
  run.train(result, objective, train_options(spec.train, spec.adapter, spec.run, 1e-4));
  attached.hand_over(result);
  return result;
}

}  // namespace lowrank::recipes
