// `lowrank evaluate`: perplexity, comparisons, labels; the recipes' results as tables.
#include "lowrank/recipes/evaluation/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowrank/apps/console/next_step.h"
#include "lowrank/apps/training/recipe_verb.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/number.h"
#include "lowrank/core/text.h"
#include "lowrank/core/visible.h"
#include "lowrank/recipes/classification/classification_report.h"
#include "lowrank/recipes/evaluation/compare.h"
#include "lowrank/recipes/evaluation/evaluate_images.h"
#include "lowrank/recipes/evaluation/evaluate_labels.h"
#include "lowrank/recipes/images/image_model.h"

namespace lowrank::apps {

namespace {

class EvaluationView : public OnConsole<recipes::EvaluationObserver> {
 public:
  EvaluationView(const Options& options, const Console& console)
      : OnConsole(console), ranks_(join_ranks(options, console)) {}
  train::GradSync* ranks() override { return ranks_; }
  void on_facts(const recipes::Rows& rows) override {
    console_.text(fields(rows));
  }

 private:
  train::GradSync* ranks_;
};

void print_table(const std::vector<recipes::EvaluatedSet>& sets, const Console& console) {
  const bool adapter = sets.front().adapter.has_value();
  std::vector<std::string> header = {"set", "tokens"};
  if (adapter) {
    header.insert(header.end(), {"base nll", "adapter", "base perplexity", "adapter", "change"});
  } else {
    header.insert(header.end(), {"nll", "perplexity"});
  }
  std::vector<std::vector<std::string>> rows;
  for (const recipes::EvaluatedSet& set : sets) {
    std::vector<std::string> row = {set.name, core::format_count(set.base.tokens)};
    if (adapter) {
      const double before = set.base.perplexity(), after = set.adapter->perplexity();
      row.insert(row.end(), {fmt::format("{:.4f}", set.base.nll), fmt::format("{:.4f}", set.adapter->nll),
                             fmt::format("{:.2f}", before), fmt::format("{:.2f}", after),
                             core::format_change(100.0 * (after / before - 1.0)) + " %"});
    } else {
      row.insert(row.end(), {fmt::format("{:.4f}", set.base.nll), fmt::format("{:.2f}", set.base.perplexity())});
    }
    rows.push_back(std::move(row));
  }
  console.line();
  console.text(table(header, rows));
  console.line("nll: mean negative log-likelihood in nats a token; perplexity: its exponential");
}

void print_frontier(const recipes::EvaluateResult& result, const Console& console) {
  std::vector<std::string> header = {"scale of ΔW"};
  for (const recipes::EvaluatedSet& set : result.sets) header.insert(header.end(), {set.name, "change"});
  std::vector<std::vector<std::string>> rows;
  for (const recipes::FrontierPoint& point : result.frontier) {
    rows.push_back({fmt::format("{:.3f}", point.scale)});
    for (std::size_t i = 0; i < result.sets.size(); ++i) {
      rows.back().push_back(fmt::format("{:.2f}", std::exp(point.nll[i])));
      rows.back().push_back(core::format_change(100 * std::expm1(point.nll[i] - result.sets[i].base.nll)) + " %");
    }
  }
  console.line();
  console.text(table(header, rows));
  console.line("perplexity at each scale; --max-forgetting of `lowrank finetune` chooses one by such a bound");
}

int evaluate_labels(const recipes::EvaluateSpec& spec, EvaluationView& view, const Console& console) {
  const recipes::LabelsResult result = recipes::evaluate_labels(spec, view);
  std::vector<std::vector<std::string>> rows;
  std::string matrices;
  for (const recipes::LabelledSet& set : result.sets) {
    const eval::Classification& scores = set.found.scores;
    rows.push_back({set.name, core::format_count(scores.examples), fmt::format("{:.4f}", set.found.nll),
                    fmt::format("{:.2f} %", 100 * scores.accuracy), fmt::format("{:.2f} %", 100 * set.majority),
                    fmt::format("{:.4f}", scores.macro_f1), fmt::format("{:.4f}", scores.matthews)});
    matrices += "\n" + core::visible_line(set.name) + ": " + recipes::confusion_text(set.found, result.labels);
  }
  console.line();
  console.text(table({"set", "texts", "loss", "accuracy", "majority", "macro F1", "Matthews"}, rows) + matrices);
  console.line(
      "loss: mean cross-entropy in nats a text; majority: accuracy of always saying the set's most frequent label");
  console.result(result.json);
  return 0;
}

int evaluate_images(const recipes::EvaluateSpec& spec, EvaluationView& view, const Console& console) {
  const recipes::ImagesResult result = recipes::evaluate_images(spec, view);
  std::vector<std::vector<std::string>> rows;
  std::string matrices;
  for (const recipes::ImagesSet& set : result.sets) {
    const auto add = [&](const char* who, const std::optional<eval::ImageScores>& found) {
      if (!found) return;
      rows.push_back({set.name, who, core::format_count(found->scores.examples), fmt::format("{:.4f}", found->loss),
                      fmt::format("{:.2f} %", 100 * found->scores.accuracy),
                      fmt::format("{:.4f}", found->scores.macro_f1), fmt::format("{:.4f}", found->scores.matthews)});
    };
    add(set.adapter ? "base" : "model", set.base);
    add("adapter", set.adapter);
    matrices += fmt::format("\n{}:\n{}", core::visible_line(set.name), recipes::confusion_text(set.shown().scores, result.labels));
  }
  console.line();
  console.text(table({"set", "who", "pictures", "loss", "accuracy", "macro F1", "Matthews"}, rows) + matrices);
  console.result(result.json);
  return 0;
}

int compare(const recipes::EvaluateSpec& spec, EvaluationView& view, const Console& console) {
  const recipes::CompareResult result = recipes::compare(spec, view);
  if (!console.silent()) {
    print_lines(fields(result.facts));
    for (const eval::ReportTable& one : recipes::tables(result.comparison))
      print_lines("\n" + table(one.header, one.rows) + one.note + (one.note.empty() ? "" : "\n"));
  }
  if (result.out) {
    console.line();
    console.line(fmt::format("{}: report.html, comparison.json", result.out->string()));
  }
  console.result(result.json);
  return 0;
}

/// Whether an option was given that plain perplexity does not need.
bool comparison_asked_for(const Options& options) {
  const auto names = {"compare", "questions", "extract", "max-new-tokens", "perturb", "out", "seed"};
  return std::any_of(names.begin(), names.end(), [&](const char* name) { return options.given(name); });
}

int evaluate(const Options& options) {
  const Console console(options);
  recipes::EvaluateSpec spec;
  set_fields(recipes::fields_of(spec), options);
  spec.model = options.positional(0);
  spec.command = options.command_line();
  EvaluationView view(options, console);
  if (!spec.threads) spec.threads = threads_of_rank();
  if (spec.task == "image-classification") return evaluate_images(spec, view, console);
  if (spec.per_token && !console.json())
    options.fail("per-token", "the losses of single tokens come with --json only; add --json");
  if (!spec.task && comparison_asked_for(options)) {
    if (view.ranks() != nullptr)
      throw ConfigError("a comparison is made by one process: start it without a launcher of ranks");
    return compare(spec, view, console);
  }
  if (spec.data.empty()) {
    throw ConfigError("lowrank evaluate: --data is missing; example: " + options.verb().example);
  }
  if (spec.task) return evaluate_labels(spec, view, console);
  const recipes::EvaluateResult result = recipes::evaluate(spec, view);
  print_table(result.sets, console);
  if (spec.frontier) print_frontier(result, console);
  if (spec.adapter) {
    print_next(console, {"merge", spec.model, "--adapter", *spec.adapter, "--out", *spec.adapter + "-merged"});
  } else if (!result.sets.front().adapter) {
    print_next(console, {"finetune", spec.model, "--data", "corpus/", "--out", "runs/first"});
  }
  console.result(result.json);
  return 0;
}

}  // namespace

Verb evaluate_verb() {
  Verb verb;
  verb.name = "evaluate";
  verb.summary =
      "Perplexity on data sets, the base against the adapter; or the share of labels that are predicted right";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank evaluate MODEL --adapter out --data domain=held-out.txt general=stories.txt";
  recipes::EvaluateSpec spec;
  verb.options = recipes::fields_of(spec).info();
  const auto compare = std::find_if(verb.options.begin(), verb.options.end(),
                                    [](const OptionSpec& option) { return option.name == "compare"; });
  verb.options.insert(compare, {option_json(), option_quiet()});  // where help has them
  verb.options.push_back(option_rank_timeout());
  verb.run = evaluate;
  return verb;
}

}  // namespace lowrank::apps
