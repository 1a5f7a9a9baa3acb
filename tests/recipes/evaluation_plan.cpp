// How much of the validation data is measured on the way: from sizes alone, and within the budget.
#include "lowrank/recipes/run/evaluation_plan.h"

#include "catch.h"

using lowrank::recipes::EvaluationPlan;
using lowrank::recipes::EvaluationSizes;
using lowrank::recipes::plan_evaluation;

namespace {

/// Evaluation's share of the time of a run, by its tokens.
double share_of_time(const EvaluationSizes& sizes, const EvaluationPlan& plan) {
  const auto whole = static_cast<double>(sizes.sets);
  const double measured =
      plan.share * whole * static_cast<double>(plan.evaluations + 1) + (plan.whole_at_ends ? 2 * whole : 0);
  const double evaluation = sizes.cost * measured;
  return evaluation / (evaluation + static_cast<double>(sizes.training));
}

}  // namespace

TEST_CASE("evaluation keeps to its share of the time, and small ones are left whole", "[unit]") {
  EvaluationSizes sizes;
  sizes.evaluations = 10;
  sizes.parameters = 135'000'000;
  // A long run over a text: the validation set is a twentieth of the data, three epochs.
  sizes.sets = 500'000;
  sizes.training = 30'000'000;
  EvaluationPlan plan = plan_evaluation(sizes);
  CHECK(plan.share == 1);
  CHECK_FALSE(plan.whole_at_ends);
  CHECK(plan.evaluations == 10);
  // The same with one epoch of a third of it: the whole at both ends, a part on the way.
  sizes.training = 10'000'000;
  plan = plan_evaluation(sizes);
  CHECK(plan.share < 0.4);
  CHECK(plan.whole_at_ends);
  CHECK(plan.evaluations == 10);
  CHECK(share_of_time(sizes, plan) <= 0.1 + 1e-9);
  // GSM8K for 10 steps: 8,000 tokens of training, 74,000 of validation. A part, at the start and the end alone.
  sizes.sets = 74'000;
  sizes.training = 8'000;
  plan = plan_evaluation(sizes);
  CHECK(plan.share == Approx(4096.0 / 74'000));
  CHECK_FALSE(plan.whole_at_ends);
  CHECK(plan.evaluations == 1);
  CHECK(share_of_time(sizes, plan) < 0.5);  // all of it in no more than twice the training's time
  // Asked for evaluations (early stopping, eval-every) come as often as asked.
  sizes.fewer = false;
  CHECK(plan_evaluation(sizes).evaluations == 10);
  // The same with a model so small that its operations are nothing: tokens take their time, too.
  sizes.fewer = true;
  sizes.parameters = 260'000;
  sizes.training = 16'000;
  sizes.sets = 150'000;
  plan = plan_evaluation(sizes);
  CHECK(plan.evaluations == 2);
  CHECK(share_of_time(sizes, plan) < 0.3);
  // Little is measured whole.
  sizes.sets = 700;
  sizes.training = 400;
  CHECK(plan_evaluation(sizes).share == 1);
  CHECK(plan_evaluation(sizes).evaluations == 10);
  sizes.parameters = 135'000'000;
  sizes.budget = 1;
  CHECK(plan_evaluation(sizes).share == 1);
  for (const double budget : {0.01, 0.1, 0.5}) {
    for (const std::int64_t training : {50'000, 500'000, 5'000'000, 50'000'000}) {
      for (const std::int64_t sets : {3'000, 100'000, 4'000'000}) {
        EvaluationSizes some{
            .sets = sets, .training = training, .evaluations = 10, .parameters = 1'000'000'000, .budget = budget};
        const EvaluationPlan found = plan_evaluation(some);
        CAPTURE(budget, training, sets, found.share, found.evaluations, found.whole_at_ends);
        CHECK((found.share > 0 && found.share <= 1));
        CHECK((found.evaluations >= 1 && found.evaluations <= 10));
        const bool least = found.evaluations == 1 && found.share * static_cast<double>(sets) <= 4096.5;
        if (!least) CHECK(share_of_time(some, found) <= budget + 1e-9);
      }
    }
  }
}
