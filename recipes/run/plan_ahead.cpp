#include "lowrank/recipes/run/plan_ahead.h"

#include <ATen/Parallel.h>

#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/train/text_objective.h"

namespace lowrank::recipes {

PlanAhead::PlanAhead(const data::PlanOptions& plan, const data::Dataset& train)
    : making_(at::get_num_threads(), [this, plan, &train] {
        lengths_ = train::item_lengths(train.examples);
        try {
          const data::Plan made(lengths_, plan);
        } catch (const Error&) {  // comes again where the plan is used, and is told there
        }
      }) {}

data::Lengths PlanAhead::lengths() {
  making_.wait();
  return lengths_;
}

}  // namespace lowrank::recipes
