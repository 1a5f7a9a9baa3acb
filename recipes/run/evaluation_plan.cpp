#include "lowrank/recipes/run/evaluation_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/plural.h"
#include "lowrank/data/parts.h"

namespace lowrank::recipes {

namespace {

// What is over in seconds is not worth cutting: so many operations, and so many tokens (small models take no less time
// for a token than 1e4 of them a second), or two fifths of the training's time.
constexpr double kFewOperations = 1e12, kAlways = 8192, kSeconds = 65536, kOfTraining = 0.4;
constexpr std::int64_t kFewPieces = 20;    // fewer say too little: from here on a difference has an interval (verdict.cpp)
constexpr std::int64_t kEvaluations = 10;  // a run, as the trainer has it

std::int64_t divided_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

EvaluationPlan plan_evaluation(const EvaluationSizes& sizes) {
  EvaluationPlan plan;
  plan.evaluations = sizes.evaluations;
  if (sizes.budget >= 1 || sizes.sets == 0) return plan;
  const auto whole = static_cast<double>(sizes.sets);
  const double training = static_cast<double>(sizes.training) / sizes.cost;  // in tokens that are measured
  const double few = std::min(kFewOperations / (2.0 * static_cast<double>(std::max<std::int64_t>(1, sizes.parameters))),
                              std::clamp(kOfTraining * training, kAlways, kSeconds));
  const double share_of_time = sizes.budget / (1 - sizes.budget) * training;
  double allowed = std::max(few, share_of_time);
  const auto with_start = static_cast<double>(sizes.evaluations + 1);
  if (with_start * whole <= allowed) return plan;
  if (2 * whole <= allowed / 2) {
    plan.whole_at_ends = true;
    allowed -= 2 * whole;
  }
  const double least = std::min(whole, static_cast<double>(sizes.least));
  if (sizes.fewer && allowed / with_start < least) {
    plan.evaluations = std::clamp<std::int64_t>(static_cast<std::int64_t>(allowed / least) - 1, 1, sizes.evaluations);
  }
  plan.share = std::min(1.0, std::max(least, allowed / static_cast<double>(plan.evaluations + 1)) / whole);
  if (plan.share == 1) plan.whole_at_ends = false;
  return plan;
}

void fit_evaluation(TrainingRun& run, RunData& data, const TrainSpec& training, std::int64_t parameters, bool full,
                    train::TrainOptions& options) {
  if (data.evaluation.empty()) return;
  EvaluationSizes sizes;
  for (const auto& [name, set] : data.evaluation) sizes.sets += set.report.tokens;
  const auto pieces = static_cast<std::int64_t>(data.evaluation.front().second.examples.size());
  if (pieces == 0) return;
  sizes.least = std::max(sizes.least, divided_up(sizes.sets * std::min(kFewPieces, pieces), pieces));
  sizes.training = run.planned_tokens;
  const std::int64_t every = options.eval_every > 0 ? options.eval_every : divided_up(run.planned_steps, kEvaluations);
  sizes.evaluations = divided_up(run.planned_steps, std::max<std::int64_t>(1, every));
  sizes.parameters = parameters;
  sizes.budget = training.eval_budget;
  sizes.cost = full ? 1.0 / 3 : 0.5;  // of 2 and 4 operations a parameter, and 6 where its gradient is taken too
  sizes.fewer = options.eval_every == 0 && options.early_stopping == 0;
  const EvaluationPlan found = plan_evaluation(sizes);
  if (found.evaluations != sizes.evaluations) options.eval_every = divided_up(run.planned_steps, found.evaluations);
  if (found.share == 1) return;

  std::string sets;
  std::vector<std::pair<std::string, data::Dataset>> parts;
  for (const auto& [name, set] : data.evaluation) {
    parts.emplace_back(name, data::share_of(set, found.share, seed_of(training)));
    sets += fmt::format("{}{} of {} of {}", sets.empty() ? "" : ", ",
                        core::format_count(static_cast<std::int64_t>(parts.back().second.examples.size())),
                        core::counted(static_cast<std::int64_t>(set.examples.size()), "piece"), name);
  }
  if (found.whole_at_ends) data.whole = std::move(data.evaluation);
  data.evaluation = std::move(parts);
  run.report.remarks.emplace_back(
      "evaluation", fmt::format("a fixed part, {}, {}{} ({})", sets,
                                found.evaluations == 1 ? "at the start and the end"
                                                       : core::counted(found.evaluations, "time") + " on the way",
                                found.whole_at_ends ? "; the whole at the start and of the result" : "",
                                run.spelled("`eval-budget` " + fmt::format("{:g}", training.eval_budget))));
}

}  // namespace lowrank::recipes
