#include "lowrank/train/sampler.h"

#include <algorithm>
#include <cmath>

namespace lowrank::train {
namespace {

constexpr std::size_t kRandomTrials = 10, kMostBest = 25;
constexpr std::uint64_t kCandidates = 24;
constexpr double kRandomShare = 1.0 / 6;

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

// Inverse of the normal's cumulative distribution by bisection: slow, exact enough, and the same everywhere.
double normal_quantile(double p) {
  double low = -40, high = 40;
  for (int i = 0; i < 80; ++i) {
    const double middle = (low + high) / 2;
    (normal_cdf(middle) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

/// Place of a value along its dimension's scale: in [0, 1], or which of the choices.
double place_of(const Dimension& d, const core::Json& value) {
  if (d.scale == Dimension::Scale::kChoice)
    return static_cast<double>(std::find(d.choices.begin(), d.choices.end(), value) - d.choices.begin());
  const double x = value.get<double>();
  if (d.scale == Dimension::Scale::kLog) return (std::log(x) - std::log(d.low)) / (std::log(d.high) - std::log(d.low));
  return std::clamp((x - d.low) / (d.high - d.low), 0.0, 1.0);
}

/// Finished trials, the best first.
std::vector<const Trial*> ranked(const std::vector<Trial>& finished) {
  std::vector<const Trial*> order;
  for (const Trial& trial : finished)
    if (trial.state != Trial::State::kFailed && trial.value) order.push_back(&trial);
  std::stable_sort(order.begin(), order.end(), [](const Trial* a, const Trial* b) {
    const bool a_pruned = a->state == Trial::State::kPruned, b_pruned = b->state == Trial::State::kPruned;
    if (a_pruned != b_pruned) return b_pruned;
    if (a_pruned && a->steps != b->steps) return a->steps > b->steps;
    return *a->value < *b->value;
  });
  return order;
}

}  // namespace

Parzen::Parzen(const SearchSpace& space, const std::vector<const Assignment*>& points)
    : space_(space), blur_(1 / (static_cast<double>(points.size()) + 1)) {
  const auto n = std::max(1.0, static_cast<double>(points.size()));
  width_ = 0.2 * std::pow(n, -1 / (static_cast<double>(space.dimensions().size()) + 4));
  kernels_.emplace_back(space.dimensions().size());  // the prior: nothing is there, so everything is uniform
  for (const Assignment* point : points) {
    auto& kernel = kernels_.emplace_back();
    for (const Dimension& d : space.dimensions()) {
      const core::Json* const value = value_of(*point, d.name);
      kernel.push_back(value == nullptr ? std::nullopt : std::optional(place_of(d, *value)));
    }
  }
}

double Parzen::factor(const Dimension& d, std::optional<double> center, double place) const {
  const bool choice = d.scale == Dimension::Scale::kChoice;
  const auto count = static_cast<double>(d.choices.size());
  if (!center) return choice ? 1 / count : 1;
  if (choice) return ((*center == place ? 1 : 0) + blur_) / (1 + count * blur_);
  constexpr double kTwoPi = 6.283185307179586;
  const double z = (place - *center) / width_;
  const double inside = normal_cdf((1 - *center) / width_) - normal_cdf(-*center / width_);
  return std::exp(-z * z / 2) / (width_ * std::sqrt(kTwoPi) * inside);
}

double Parzen::density(const Assignment& point) const {
  double sum = 0;
  for (const auto& kernel : kernels_) {
    double product = 1;
    for (std::size_t i = 0; i < kernel.size(); ++i) {
      const Dimension& d = space_.dimensions()[i];
      if (const core::Json* value = value_of(point, d.name)) product *= factor(d, kernel[i], place_of(d, *value));
    }
    sum += product;
  }
  return sum / static_cast<double>(kernels_.size());
}

Assignment Parzen::draw(const core::RandomStream& stream, std::uint64_t number, std::uint64_t candidate) const {
  const std::uint64_t first = candidate * (space_.dimensions().size() + 1);
  const auto count = static_cast<double>(kernels_.size());
  const auto& kernel =
      kernels_[std::min(kernels_.size() - 1, static_cast<std::size_t>(stream.uniform(number, first) * count))];
  Assignment result;
  for (std::size_t i = 0; i < kernel.size(); ++i) {
    const Dimension& d = space_.dimensions()[i];
    if (!SearchSpace::active(d, result)) continue;
    double place = stream.uniform(number, first + 1 + i);
    if (kernel[i] && d.scale == Dimension::Scale::kChoice) {
      std::size_t chosen = 0;
      for (; chosen + 1 < d.choices.size(); ++chosen) {
        const double share = factor(d, kernel[i], static_cast<double>(chosen));
        if (place < share) break;
        place -= share;
      }
      result.emplace_back(d.name, d.choices[chosen]);
      continue;
    }
    if (kernel[i]) {
      const double low = normal_cdf(-*kernel[i] / width_), high = normal_cdf((1 - *kernel[i]) / width_);
      place = std::clamp(*kernel[i] + width_ * normal_quantile(low + place * (high - low)), 0.0, 1.0);
    }
    result.emplace_back(d.name, SearchSpace::value_at(d, place));
  }
  return result;
}

std::optional<Assignment> next_trial(Sampler sampler, const SearchSpace& space, std::int64_t number,
                                     const std::vector<Trial>& finished, std::uint64_t seed) {
  if (sampler == Sampler::kGrid) {
    std::vector<Assignment> all = space.grid();
    if (static_cast<std::size_t>(number) >= all.size()) return std::nullopt;
    return all[static_cast<std::size_t>(number)];
  }
  const auto order = ranked(finished);
  const auto n = static_cast<std::uint64_t>(number);
  if (sampler == Sampler::kRandom || order.size() < kRandomTrials ||
      core::RandomStream(seed, "sweep").uniform(n) < kRandomShare) {
    Assignment result;
    for (const Dimension& d : space.dimensions()) {
      if (!SearchSpace::active(d, result)) continue;
      result.emplace_back(d.name, SearchSpace::value_at(d, core::RandomStream(seed, "sweep:" + d.name).uniform(n)));
    }
    return result;
  }
  const std::size_t best = std::min(kMostBest, (order.size() + 9) / 10);
  std::vector<const Assignment*> good, bad;
  for (std::size_t i = 0; i < order.size(); ++i) (i < best ? good : bad).push_back(&order[i]->options);
  const Parzen l(space, good), g(space, bad);
  const core::RandomStream stream(seed, "sweep:tpe");
  Assignment result;
  double best_ratio = -1;
  for (std::uint64_t c = 0; c < kCandidates; ++c) {
    Assignment candidate = l.draw(stream, n, c);
    const double ratio = l.density(candidate) / g.density(candidate);
    if (ratio > best_ratio) {
      best_ratio = ratio;
      result = std::move(candidate);
    }
  }
  return result;
}

}  // namespace lowrank::train
