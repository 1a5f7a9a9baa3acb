// The plan of a run, made beside other work: of millions of examples their order alone takes a while.
#pragma once

#include "lowrank/core/beside.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/plan.h"

namespace lowrank::recipes {

/// With more than one thread for the run the plan is made in one of its own, into `plan.memory`: whoever makes it next waits for it and has it.
/// `train` stays as it is until lengths() or the end.
class PlanAhead {
 public:
  PlanAhead(const data::PlanOptions& plan, const data::Dataset& train);
  /// Tokens of each example (train::item_lengths); once.
  data::Lengths lengths();

 private:
  data::Lengths lengths_;
  core::Beside making_;
};

}  // namespace lowrank::recipes
