// One draw from logits: transformers' logits processors in its order, then a draw by counters.
#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

#include "lowrank/core/error.h"
#include "lowrank/core/random.h"
#include "lowrank/core/softmax.h"
#include "lowrank/kernels/host.h"
#include "lowrank/models/generate.h"

namespace lowrank::models {
namespace {

constexpr float kRemoved = -std::numeric_limits<float>::infinity();

// RepetitionPenaltyLogitsProcessor (Keskar et al. 2019): every id seen, once.
void penalise(std::vector<float>& scores, const std::vector<data::TokenId>& seen, double penalty) {
  std::vector<data::TokenId> distinct = seen;
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  const float factor = static_cast<float>(penalty);
  for (const data::TokenId id : distinct) {
    if (id < 0 || static_cast<std::size_t>(id) >= scores.size()) continue;
    float& score = scores[static_cast<std::size_t>(id)];
    score = score < 0 ? score * factor : score / factor;
  }
}

// NoRepeatNGramLogitsProcessor (Paulus et al. 2017): what followed the last n - 1 tokens before may not follow them
// again.
void ban_repeated_ngrams(std::vector<float>& scores, const std::vector<data::TokenId>& seen, std::int64_t n) {
  const std::ptrdiff_t before = n - 1, length = static_cast<std::ptrdiff_t>(seen.size());
  for (std::ptrdiff_t end = before; end < length; ++end) {
    if (!std::equal(seen.end() - before, seen.end(), seen.begin() + (end - before))) continue;
    const auto id = static_cast<std::size_t>(seen[static_cast<std::size_t>(end)]);
    if (id < scores.size()) scores[id] = kRemoved;
  }
  if (std::all_of(scores.begin(), scores.end(), [](float score) { return score == kRemoved; })) {
    throw ConfigError(
        fmt::format("no token is left that does not repeat a run of {} tokens; give a greater no-repeat-ngram", n));
  }
}

// TemperatureLogitsWarper. So near to 0 that the scores leave fp32, where only how far they lie below the largest says anything.
void divide(std::vector<float>& scores, double temperature) {
  const float factor = static_cast<float>(temperature), largest = *std::max_element(scores.begin(), scores.end());
  const bool fits = std::isfinite(largest / factor);
  for (float& score : scores) {
    score = fits ? score / factor : static_cast<float>((static_cast<double>(score) - static_cast<double>(largest)) / temperature);
  }
}

// TopKLogitsWarper: what is less than the k-th largest goes; ties stay.
void keep_top_k(std::vector<float>& scores, std::int64_t k) {
  if (k >= static_cast<std::int64_t>(scores.size())) return;
  std::vector<float> sorted = scores;
  std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<>());
  const float least = sorted[static_cast<std::size_t>(k - 1)];
  for (float& score : scores) score = score < least ? kRemoved : score;
}

// TopPLogitsWarper (Holtzman et al. 2019): from the least likely up, what sums to at most 1 - p goes; the last one
// stays.
void keep_top_p(std::vector<float>& scores, double p) {
  const std::vector<double> probabilities = core::softmax(std::span<const float>(scores));
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] < scores[b]; });
  double sum = 0;
  for (std::size_t i = 0; i + 1 < order.size(); ++i) {
    sum += probabilities[order[i]];
    if (sum > 1 - p) break;
    scores[order[i]] = kRemoved;
  }
}

}  // namespace

void check(const GenerateOptions& options) {
  if (options.max_new_tokens < 0) throw ConfigError("max-new-tokens must not be negative");
  if (!(options.temperature >= 0) || !std::isfinite(options.temperature)) {
    throw ConfigError(fmt::format("temperature must be 0 (greedy) or greater, found {}", options.temperature));
  }
  if (options.top_k < 0) throw ConfigError(fmt::format("top-k must be 0 (off) or greater, found {}", options.top_k));
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    throw ConfigError(fmt::format("top-p must be greater than 0 and at most 1, found {}", options.top_p));
  }
  if (!(options.repetition_penalty > 0) || !std::isfinite(options.repetition_penalty)) {
    throw ConfigError(fmt::format("repetition-penalty must be greater than 0, found {}", options.repetition_penalty));
  }
  if (options.no_repeat_ngram < 0) {
    throw ConfigError(fmt::format("no-repeat-ngram must be 0 (off) or greater, found {}", options.no_repeat_ngram));
  }
  for (const std::string& stop : options.stop) {
    if (stop.empty()) throw ConfigError("a stop string is empty");
  }
}

void apply_penalties(std::vector<float>& scores, const GenerateOptions& options,
                     const std::vector<data::TokenId>& seen) {
  if (options.repetition_penalty != 1) penalise(scores, seen, options.repetition_penalty);
  if (options.no_repeat_ngram > 0) ban_repeated_ngrams(scores, seen, options.no_repeat_ngram);
}

double log_probability(const at::Tensor& logits, double temperature, data::TokenId id) {
  const std::vector<float> scores = kernels::to_host<float>(logits);
  const double divisor = temperature == 0 ? 1 : temperature;
  const core::ExpSum terms = core::exp_sum(std::span<const float>(scores), divisor);
  return (scores.at(static_cast<std::size_t>(id)) - terms.largest) / divisor - std::log(terms.sum);
}

data::TokenId sample(const at::Tensor& logits, const GenerateOptions& options, const std::vector<data::TokenId>& seen,
                     std::uint64_t place, std::uint64_t prompt) {
  std::vector<float> scores = kernels::to_host<float>(logits);
  if (std::any_of(scores.begin(), scores.end(), [](float x) { return std::isnan(x); })) {
    throw ModelError("the model's logits are not numbers (NaN); the weights or the adapter are damaged");
  }
  apply_penalties(scores, options, seen);
  if (options.temperature == 0) {
    return static_cast<data::TokenId>(std::max_element(scores.begin(), scores.end()) - scores.begin());
  }
  divide(scores, options.temperature);
  if (options.top_k > 0) keep_top_k(scores, options.top_k);
  if (options.top_p < 1) keep_top_p(scores, options.top_p);

  const std::vector<double> probabilities = core::softmax(std::span<const float>(scores));
  const double target = core::RandomStream(options.seed, "sample").uniform(place, prompt);
  double sum = 0;
  std::size_t last = 0;
  for (std::size_t i = 0; i < probabilities.size(); ++i) {
    if (probabilities[i] == 0) continue;
    last = i;
    sum += probabilities[i];
    if (sum > target) break;
  }
  return static_cast<data::TokenId>(last);
}

}  // namespace lowrank::models
