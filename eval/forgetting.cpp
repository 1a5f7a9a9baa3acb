#include "lowrank/eval/forgetting.h"

#include <algorithm>
#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/eval/perplexity.h"
#include "lowrank/lora/delta_scale.h"

namespace lowrank::eval {
namespace {

constexpr std::int64_t kBatchTokens = 2048;
constexpr int kSteps = 8, kHalvings = 6;
constexpr double kOneSided99 = 2.326;

}  // namespace

Change mean_change(const std::vector<double>& sums, const std::vector<double>& counts) {
  double sum = 0, count = 0;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    sum += sums[i];
    count += counts[i];
  }
  if (count == 0) throw InternalError("mean_change: nothing is counted");
  Change change{sum / count, sum / count};
  const auto n = static_cast<double>(sums.size());
  if (sums.size() < 2) return change;
  double squares = 0;
  for (std::size_t i = 0; i < sums.size(); ++i) squares += std::pow(sums[i] - change.mean * counts[i], 2);
  const double variance = n / (n - 1) * squares / (count * count);
  change.upper += kOneSided99 * std::sqrt(2 * variance);  // of this sample and of the one to come
  return change;
}

Change paired_change(const data::Examples& examples, const std::vector<double>& base,
                     const std::vector<double>& now) {
  std::vector<double> sums, counts;
  std::size_t next = 0;
  for (const data::Example& example : examples) {
    const auto tokens = static_cast<std::size_t>(example.counted());
    if (tokens == 0) continue;
    if (next + tokens > base.size() || base.size() != now.size()) {
      throw InternalError("paired_change: losses that are not those of the examples");
    }
    double difference = 0;
    for (const std::size_t end = next + tokens; next < end; ++next) difference += now[next] - base[next];
    sums.push_back(difference);
    counts.push_back(static_cast<double>(tokens));
  }
  return mean_change(sums, counts);
}

ForgettingSearch search_scale(models::DecoderImpl& decoder, lora::Adapter& adapter, const data::Dataset& general,
                              const data::Dataset* validation, double bound, core::ProgressObserver* progress) {
  ForgettingSearch search;
  search.bound = bound;
  adapter.set_enabled(false);
  const Perplexity base = perplexity(decoder, general, kBatchTokens, true);
  adapter.set_enabled(true);
  search.base_nll = base.nll;

  lora::DeltaScale scale(adapter);
  std::int64_t tried = 0;
  if (progress != nullptr) progress->begin("choosing the update's scale", kSteps + kHalvings, "scales");
  const auto measure = [&](double t) -> const ScalePoint& {
    scale.set(t);
    const Perplexity now = perplexity(decoder, general, kBatchTokens, true);
    ScalePoint point;
    point.scale = t;
    point.general_nll = now.nll;
    point.general = paired_change(general.examples, base.per_token, now.per_token);
    point.within = point.general.upper <= std::log1p(bound);
    if (validation != nullptr) point.domain_nll = perplexity(decoder, *validation, kBatchTokens).nll;
    search.points.push_back(point);
    if (progress != nullptr) progress->advance(++tried);
    return search.points.back();
  };

  double holds = 0, breaks = 0;
  for (int k = 1; k <= kSteps; ++k) {
    const double t = static_cast<double>(k) / kSteps;
    const bool within = measure(t).within;
    if (breaks == 0) (within ? holds : breaks) = t;
  }
  for (int i = 0; breaks > 0 && i < kHalvings; ++i) {
    const double t = (holds + breaks) / 2;
    (measure(t).within ? holds : breaks) = t;
  }
  if (progress != nullptr) progress->end();

  std::sort(search.points.begin(), search.points.end(),
            [](const ScalePoint& a, const ScalePoint& b) { return a.scale < b.scale; });
  std::optional<double> best;
  for (const ScalePoint& point : search.points) {
    if (point.scale > holds) break;
    if (best && point.domain_nll && *point.domain_nll >= *best) continue;
    search.scale = point.scale;
    best = point.domain_nll;
  }
  return search;
}

}  // namespace lowrank::eval
