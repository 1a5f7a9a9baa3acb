// Learning rates as pure functions of the step.
#pragma once

#include <cstdint>
#include <string>

namespace lowrank::train {

enum class Schedule { kConstant, kLinear, kCosine };
Schedule parse_schedule(const std::string& name);  // ConfigError with the nearest
std::string schedule_name(Schedule schedule);

/// Steps of warm-up: `warmup` < 1 is a share of `steps` (rounded up), else a number of steps.
std::int64_t warmup_steps(double warmup, std::int64_t steps);
/// The rate of step `step` (from 0) of `steps`, as transformers' get_scheduler: linear warm-up from 0 (step 0 has
/// lr·0/w … as transformers), then constant, linear to 0, or half a cosine to 0.
double learning_rate(Schedule schedule, double lr, std::int64_t step, std::int64_t steps, std::int64_t warmup);
/// The rate as a run takes it: learning_rate(), but for runs of fewer than 200 steps, whose warm-up would spend one of
/// them at a rate of 0: there the first of w warm-up steps has lr/(w+1).
double run_rate(Schedule schedule, double lr, std::int64_t step, std::int64_t steps, std::int64_t warmup);

}  // namespace lowrank::train
