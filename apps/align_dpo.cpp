#include <fmt/format.h>

#include "lowrank/apps/align/align_run.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/training/training_run.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/data/preferences.h"
#include "lowrank/train/dpo.h"
#include "lowrank/train/pairs.h"

namespace lowrank::apps {

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

int align_dpo(const Options& options) {
  const Console console(options);
  ConsoleProgress progress(console);
  std::optional<AlignRun> run = open_align_run(options, console, progress);
  if (!run) return 0;
  RunData data = read_pairs(options, *run, progress);

  train::Dpo::Parts parts;
  parts.decoder = run->model.decoder;
  parts.adapter = &*run->adapter;
  parts.weights = &run->model.weights;
  parts.plan = plan_options(options);
  parts.loss = train::parse_dpo_loss(options.text("loss"));
  parts.beta = options.number("beta");
  parts.reference_is_start = run->start.has_value();
  parts.seed = parts.plan.seed;
  const std::vector<std::int64_t> lengths = train::pair_lengths(data.train);
  parts.recompute =
      choose_recompute(options, run->earlier, run->model.decoder->config(), data::Plan(lengths, parts.plan), lengths,
                       run->model.decoder->dtype(), run->report);
  run->facts["recompute"] = parts.recompute ? "layer" : "none";
  std::vector<std::pair<std::string, double>> shorter;
  for (const auto& [name, set] : data.evaluation) shorter.emplace_back(name, data::shorter_wins(set));
  parts.train = std::move(data.train);
  parts.evaluation = std::move(data.evaluation);
  parts.progress = &progress;
  train::Dpo objective(std::move(parts));

  run->report.shown_metrics = {"rewards/accuracies", "rewards/margins"};
  run->report.remarks.emplace_back(
      "objective",
      fmt::format("DPO, {} loss, beta = {}; the reference is {}", options.text("loss"), options.number("beta"),
                  run->start ? "the adapter that the run starts from" : "the base with the adapter off"));
  report_baselines(objective, shorter, run->report);
  return train_and_report(options, console, objective, run->report, train_options(options, 5e-5), run->facts).exit_code;
}

}  // namespace

Verb align_dpo_verb() {
  Verb verb;
  verb.name = "align dpo";
  verb.summary = "Learn from preference pairs (DPO); writes a PEFT adapter";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank align dpo runs/sft --data pairs.jsonl --out runs/dpo";
  std::vector<OptionSpec> own = pair_options();
  own.insert(own.end(), {{"beta",
                          OptionType::kNumber,
                          "X",
                          0.1,
                          "Preferences",
                          "How strongly the reference holds; for ipo, the tau of the paper",
                          {}},
                         {"loss",
                          OptionType::kText,
                          "NAME",
                          "sigmoid",
                          "Preferences",
                          "Loss of a pair's margin",
                          {"sigmoid", "ipo", "hinge"}}});
  verb.options = align_options(std::move(own), "5e-5");
  verb.run = align_dpo;
  return verb;
}

}  // namespace lowrank::apps
