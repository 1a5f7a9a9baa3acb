#include "lowrank/recipes/dpo.h"

#include <fmt/format.h>

#include "lowrank/data/mixture.h"
#include "lowrank/data/preferences.h"
#include "lowrank/recipes/run/health.h"
#include "lowrank/recipes/run/regularisation.h"
#include "lowrank/recipes/run/run_data.h"
#include "lowrank/recipes/run/training_run.h"
#include "lowrank/train/dpo.h"
#include "lowrank/train/pairs.h"

namespace lowrank::recipes {

namespace {

/// What a judge without any training would score on the held-out pairs: the figures that training must beat.
void report_baselines(const train::Dpo& objective, const std::vector<std::pair<std::string, double>>& shorter,
                      RunReport& report) {
  for (std::size_t i = 0; i < shorter.size(); ++i) {
    const auto& [name, wins] = shorter[i];
    const double reference = objective.reference_accuracy(i);
    report.remarks.emplace_back(name + " baselines",
                                fmt::format("\"shorter wins\" {:.1f} %, the reference's own log-probabilities {:.1f} %",
                                            100 * wins, 100 * reference));
    report.findings["shorter_wins"][name] = wins;
    report.findings["reference_accuracy"][name] = reference;
  }
}

}  // namespace

DataWords pair_words() {
  DataWords words;
  words.data =
      "Pairs, .jsonl or .json: {\"prompt\", \"chosen\", \"rejected\"} as text or messages, or LLaMA-Factory's forms";
  words.seq_len =
      "Tokens of a prompt with an answer at most; cut at the end (default: 1024, or the model's positions if fewer)";
  words.val_data = "Validation pairs (best checkpoint, early stopping)";
  words.no_shuffle = "Take the pairs in file order";
  return words;
}

void describe(Fields& t, DpoSpec& s) {
  describe_data(t, s.data, pair_words());
  describe(t, s.data.chat, false);
  t.group("Preferences");
  t.add("beta", &s.beta, "X", "How strongly the reference holds; for ipo, the tau of the paper");
  t.add("loss", &s.loss, "NAME", "Loss of a pair's margin", {.choices = {"sigmoid", "ipo", "hinge"}});
  describe(t, s.adapter);
  describe(t, s.train, {.lr = "5e-5"});
  t.remove("eval-budget");
  describe_router_loss(t, s.router_aux_loss);
  describe_dtype(t, s.run);
  describe(t, s.run);
}

ModelResult dpo(const DpoSpec& asked, Observer& observer) {
  DpoSpec spec = asked;
  const Fields fields = fields_of(spec);
  ModelResult result;
  TrainingRun run("align dpo", spec.model, fields, spec.run, observer);
  run.resolve(spec.adapter);
  if (!run.open(result)) return result;
  const auto base = std::make_shared<SharedBase>(false);
  models::LoadedModel& model = run.load(*base);
  Attached attached(base);
  lora::SlotTable slots = model.decoder->slot_table();
  slots.base_name = run.resolved.base_name;
  lora::Adapter& adapter = attached.put(run.make_adapter(without_dropout(spec.adapter), slots, seed_of(spec.train)));
  run.take(adapter);
  RunData data = read_pairs(run, spec.data, spec.train, model);

  train::Dpo::Parts parts;
  parts.decoder = model.decoder;
  parts.adapter = &adapter;
  parts.weights = &model.weights;
  parts.plan = plan_options(spec.train, spec.data, fields);
  data::weigh(parts.plan, data.train, 2);
  run.share(parts);
  parts.loss = train::parse_dpo_loss(spec.loss);
  parts.beta = spec.beta;
  parts.router_aux_loss = router_aux_loss(spec.router_aux_loss, *model.decoder, fields);
  parts.reference_is_start = run.start.has_value() || run.report.loftq;  // LoftQ's beginning is nearer the base than its codes
  run.carry_chat(*model.tokenizer, model.decoder->config());
  parts.save_extra = run.save_carried();
  parts.seed = parts.plan.seed;
  parts.recompute = run.choose_recompute(*model.decoder, parts.plan, train::pair_lengths(data.train));
  check_health(run, data.train, data.evaluation, *model.tokenizer, model.decoder->config(), spec.train,
               data::Learns::kPairs);
  std::vector<std::pair<std::string, double>> shorter;
  for (const auto& [name, set] : data.evaluation) shorter.emplace_back(name, data::shorter_wins(set));
  parts.train = std::move(data.train);
  parts.evaluation = std::move(data.evaluation);
  parts.progress = &observer;
  train::Dpo objective(std::move(parts));

  run.report.shown_metrics = {"rewards/accuracies", "rewards/margins"};
  run.report.remarks.emplace_back(
      "objective", fmt::format("DPO, {} loss, beta = {}; the reference is {}", spec.loss, spec.beta,
                               run.start ? "the adapter that the run starts from" : "the base with the adapter off"));
  report_baselines(objective, shorter, run.report);
  run.train(result, objective, train_options(spec.train, spec.adapter, spec.run, 5e-5));
  attached.hand_over(result);
  return result;
}

}  // namespace lowrank::recipes
