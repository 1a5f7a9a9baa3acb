#include "lowrank/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::train {

Schedule parse_schedule(const std::string& name) {
  if (name == "constant" || name == "constant_with_warmup") return Schedule::kConstant;
  if (name == "linear") return Schedule::kLinear;
  if (name == "cosine") return Schedule::kCosine;
  throw ConfigError("schedule '" + name + "' is unknown; there are constant, linear and cosine" +
                    core::did_you_mean(name, {"constant", "linear", "cosine"}));
}

std::string schedule_name(Schedule schedule) {
  switch (schedule) {
    case Schedule::kConstant:
      return "constant";
    case Schedule::kLinear:
      return "linear";
    case Schedule::kCosine:
      return "cosine";
  }
  throw InternalError("schedule_name was given a value that is no schedule");
}

std::int64_t warmup_steps(double warmup, std::int64_t steps) {
  if (!(warmup >= 0) || !std::isfinite(warmup))
    throw ConfigError("warmup must be 0 or more: a share of the steps below 1, else a number of steps");
  if (warmup >= 1) return static_cast<std::int64_t>(warmup);
  return static_cast<std::int64_t>(std::ceil(static_cast<double>(steps) * warmup));
}

double learning_rate(Schedule schedule, double lr, std::int64_t step, std::int64_t steps, std::int64_t warmup) {
  // The order of operations is transformers' (optimization.py), so that the rates are the same doubles.
  if (step < warmup) return lr * (static_cast<double>(step) / static_cast<double>(std::max<std::int64_t>(1, warmup)));
  const double length = static_cast<double>(std::max<std::int64_t>(1, steps - warmup));
  switch (schedule) {
    case Schedule::kConstant:
      return lr;
    case Schedule::kLinear:
      return lr * std::max(0.0, static_cast<double>(steps - step) / length);
    case Schedule::kCosine: {
      const double progress = static_cast<double>(step - warmup) / length;
      return lr * std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * 0.5 * 2.0 * progress)));
    }
  }
  throw InternalError("learning_rate was given a value that is no schedule");
}

double run_rate(Schedule schedule, double lr, std::int64_t step, std::int64_t steps, std::int64_t warmup) {
  constexpr std::int64_t kFewSteps = 200;
  if (steps >= kFewSteps || step >= warmup) return learning_rate(schedule, lr, step, steps, warmup);
  return lr * (static_cast<double>(step + 1) / static_cast<double>(warmup + 1));
}

}  // namespace lowrank::train
