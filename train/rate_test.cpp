#include "lowrank/train/rate_test.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowrank/train/gradients.h"
#include "lowrank/train/optimizer.h"

namespace lowrank::train {

namespace {

constexpr double kLowest = 1e-5, kHighest = 1.0;
constexpr double kBelow = 2;          // the rate of the lowest loss is near where a run falls apart
constexpr double kWorthwhile = 1e-3;  // of the first loss: a smaller fall is none
constexpr double kFallenApart = 1.5;  // times the first loss: the test ends

/// The step's loss on these parameters, its gradients in their buffer, and their count.
double loss_of_step(Objective& objective, FlatParameters& parameters, std::int64_t index, GradSync& sync) {
  parameters.zero_gradients();
  StepTotals totals;
  objective.prepare(index);
  together(sync, [&] {
    MicroBatches done;
    for (std::int64_t micro = 0; micro < objective.micro_batches(index); ++micro) {
      done.differentiate(objective.forward(index, micro));
    }
    done.add_to(totals);
  });
  sync.sum(parameters.gradients(), totals);
  divide_by_count(parameters.gradients(), totals.count);
  return totals.loss / static_cast<double>(std::max<std::int64_t>(1, totals.count));
}

}  // namespace

core::Json to_json(const RateTest& test) {
  core::Json points = core::Json::array();
  for (const RatePoint& point : test.points) points.push_back({{"lr", point.rate}, {"loss", point.loss}});
  return {{"lr", test.rate}, {"reason", test.reason}, {"points", points}};
}

std::int64_t rate_test_steps(std::int64_t steps) { return std::clamp<std::int64_t>(steps / 20, 12, 40); }

RateTest choose_rate(std::vector<RatePoint> points, double fallback) {
  RateTest test;
  test.points = std::move(points);
  test.rate = fallback;
  test.reason = fmt::format("{:.2g}, the default: a range test saw no fall of the loss", fallback);
  if (test.points.size() < 3) return test;
  std::size_t finite = 0, lowest = 0;
  while (finite < test.points.size() && std::isfinite(test.points[finite].loss)) ++finite;
  for (std::size_t i = 1; i < finite; ++i)
    if (test.points[i].loss < test.points[lowest].loss) lowest = i;
  const double first = test.points.front().loss, last = test.points[lowest].loss;
  if (lowest == 0 || first - last < kWorthwhile * first) return test;
  // Adam's first steps overshoot here and there, so that single losses leap: the mean of three says where they are low.
  const auto around = [&](std::size_t i) { return test.points[i - 1].loss + test.points[i].loss + test.points[i + 1].loss; };
  std::size_t place = 1;
  for (std::size_t i = 2; i + 1 < finite; ++i)
    if (around(i) < around(place)) place = i;
  const double there = test.points[finite < 3 ? lowest - 1 : place].rate;
  // Two digits: more would only look exact.
  const double power = std::pow(10.0, std::floor(std::log10(there / kBelow)) - 1);
  test.rate = std::round(there / kBelow / power) * power;
  test.reason = fmt::format(
      "{:.2g}, by a range test of {} steps: the loss of the first batch fell from {:.3f} to {:.3f} and was lowest about a rate of {:.1e}, "
      "and half of that is taken",
      test.rate, test.points.size(), first, last, there);
  return test;
}

RateTest test_rates(Objective& objective, FlatParameters& parameters, const TrainOptions& options, std::int64_t steps,
                    GradSync& sync, core::ProgressObserver* progress) {
  const at::Tensor begun = parameters.values().clone();
  AdamW optimizer(parameters, {options.lr, options.beta1, options.beta2, options.eps, options.weight_decay},
                  rate_ranges(parameters.parameters(), options.lora_plus_ratio));
  const double factor = std::pow(kHighest / kLowest, 1.0 / static_cast<double>(steps - 1));
  std::vector<RatePoint> points;
  if (progress != nullptr) progress->begin("trying learning rates", steps, "steps");
  for (std::int64_t i = 0; i < steps; ++i) {
    const double rate = kLowest * std::pow(factor, static_cast<double>(i));
    const double loss = loss_of_step(objective, parameters, 0, sync);
    points.push_back({rate, loss});
    if (!std::isfinite(loss) || loss > kFallenApart * points.front().loss) break;
    const double norm = parameters.gradient_norm();
    if (!std::isfinite(norm)) break;
    clip_gradients(parameters.gradients(), norm, options.clip);
    optimizer.step(parameters, i + 1, rate);
    if (progress != nullptr) progress->advance(i + 1);
  }
  if (progress != nullptr) progress->end();
  {
    const at::NoGradGuard no_grad;
    parameters.values().copy_(begun);
  }
  parameters.zero_gradients();
  return choose_rate(std::move(points), options.lr);
}

}  // namespace lowrank::train
