// A learning-rate range test (Smith 2017): a few steps from the start with a rate that grows from step to step, on a
// copy of what is trained.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/train/flat_parameters.h"
#include "lowrank/train/grad_sync.h"
#include "lowrank/train/objective.h"
#include "lowrank/train/trainer.h"

namespace lowrank::train {

struct RatePoint {
  double rate = 0;
  double loss = 0;  // of the first step's batch, before the step of this rate
};

struct RateTest {
  std::vector<RatePoint> points;  // rates growing by one factor
  double rate = 0;                // chosen
  std::string reason;             // in words, beginning with it
};
core::Json to_json(const RateTest& test);

/// Steps of the test for a run of so many: a twentieth of them, from 12 to 40.
std::int64_t rate_test_steps(std::int64_t steps);

/// The rate that points say: half of the one about which the loss was lowest, by the mean of three neighbours, among those
/// before it left finite numbers. `fallback` where the loss never fell.
RateTest choose_rate(std::vector<RatePoint> points, double fallback);

/// Steps of rates from 1e-5 to 1 on the first step's batch, the same each time so that only the rate differs;
/// `parameters` are afterwards what they were. Every rank takes part. `options`: moments, clipping, LoRA+; its lr is
/// the fallback.
RateTest test_rates(Objective& objective, FlatParameters& parameters, const TrainOptions& options, std::int64_t steps,
                    GradSync& sync, core::ProgressObserver* progress);

}  // namespace lowrank::train
