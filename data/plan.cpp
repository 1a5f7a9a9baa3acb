#include "lowrank/data/plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "lowrank/core/error.h"
#include "lowrank/core/random.h"

namespace lowrank::data {
namespace {

constexpr std::size_t kLookAhead = 64;
constexpr std::int64_t kMostSteps = 10'000'000;  // a plan stays under a few GB
constexpr std::int64_t kMostExamples = 500'000'000;

/// a·b·c, at most `most` (all are at least 1).
std::int64_t product_up_to(std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t most) {
  std::int64_t product = std::min(a, most);
  for (const std::int64_t factor : {b, c}) product = product > most / factor ? most : product * factor;
  return std::max<std::int64_t>(product, 1);
}

[[noreturn]] void too_long() {
  throw ConfigError(
      "the plan would have more than 10 million steps or 500 million examples; lower `epochs` or "
      "`max-steps`");
}

void check(const PlanOptions& options) {
  const auto at_least_one = [](std::int64_t value, const char* name) {
    if (value < 1) throw ConfigError(std::string(name) + " must be at least 1, found " + std::to_string(value));
  };
  at_least_one(options.batch_size, "`batch-size`");
  at_least_one(options.grad_accum, "`grad-accum`");
  at_least_one(options.ranks, "the number of ranks");
  if (options.batch_ranks != 0) at_least_one(options.batch_ranks, "the number of ranks");
  if (options.batch_tokens) at_least_one(*options.batch_tokens, "`batch-tokens`");
  if (options.max_steps) {
    at_least_one(*options.max_steps, "`max-steps`");
    if (*options.max_steps > kMostSteps) too_long();
  } else if (!std::isfinite(options.epochs) || options.epochs <= 0) {
    throw ConfigError("`epochs` must be more than 0, found " + std::to_string(options.epochs));
  }
}

/// ⌈x⌉ that forgives the rounding of fractions such as 0.1 · 30.
std::int64_t ceil_steps(double x) { return static_cast<std::int64_t>(std::ceil(x - 1e-9)); }

/// The next step's examples: the first that is left, and those after it that fit into `budget`. `left` holds the
/// examples that earlier steps passed over (at most the look-ahead), before order[next], order[next + 1] …
std::vector<std::uint32_t> fill(std::vector<std::uint32_t>& left, const std::vector<std::uint32_t>& order,
                                std::size_t& next, const std::vector<std::int64_t>& lengths, std::int64_t budget) {
  std::vector<std::uint32_t> taken, passed;
  std::size_t seen = 0;
  while (passed.size() < kLookAhead && budget > 0 && (seen < left.size() || next < order.size())) {
    const std::uint32_t example = seen < left.size() ? left[seen++] : order[next++];
    if (taken.empty() || lengths[example] <= budget) {
      taken.push_back(example);
      budget -= lengths[example];
    } else {
      passed.push_back(example);
    }
  }
  passed.insert(passed.end(), left.begin() + static_cast<std::ptrdiff_t>(seen), left.end());
  left = std::move(passed);
  return taken;
}

}  // namespace

Plan::Plan(const std::vector<std::int64_t>& lengths, const PlanOptions& options)
    : options_(options), lengths_(lengths) {
  check(options);
  if (lengths.empty()) throw ConfigError("there is nothing to train on: the data holds no examples");
  if (!options.weights.empty() && options.sources.size() != lengths.size()) {
    throw InternalError("Plan: weights without the source of each example");
  }
  if (epoch_order(0).empty()) {
    throw ConfigError("there is nothing to train on: the weights of `data` leave no example to an epoch; raise them");
  }
  std::int64_t taken = 0;
  for (std::uint64_t epoch = 0;; ++epoch) {
    if (this->steps() > kMostSteps || taken > kMostExamples) too_long();
    std::vector<StepPlan> steps = epoch_steps(epoch);
    const auto whole = static_cast<std::int64_t>(steps.size());
    if (epoch == 0) steps_per_epoch_ = whole;
    std::int64_t wanted = whole;
    if (options.max_steps) {
      wanted = *options.max_steps - this->steps();
    } else {
      wanted = ceil_steps((options.epochs - static_cast<double>(epoch)) * static_cast<double>(whole));
    }
    wanted = std::clamp<std::int64_t>(wanted, epoch == 0 ? 1 : 0, whole);
    if (epoch == 0) {  // no more than there will be: a plan may be large
      const double all = options.max_steps ? static_cast<double>(*options.max_steps)
                                           : std::ceil(options.epochs * static_cast<double>(whole));
      steps_.reserve(static_cast<std::size_t>(std::min(all, static_cast<double>(kMostSteps))));
    }
    for (std::int64_t i = 0; i < wanted; ++i) {
      for (const std::uint32_t example : steps[i].examples) total_tokens_ += lengths_[example];
      taken += static_cast<std::int64_t>(steps[i].examples.size());
      steps_.push_back(std::move(steps[i]));
    }
    if (wanted < whole) break;
    const bool enough = options.max_steps ? this->steps() >= *options.max_steps
                                          : static_cast<double>(epoch + 1) >= options.epochs - 1e-9;
    if (enough) break;
  }
}

namespace {

/// What an epoch takes of sources that count for more or less than once, source by source.
std::vector<std::uint32_t> weighted(const PlanOptions& options, std::uint64_t epoch) {
  std::vector<std::vector<std::uint32_t>> members(options.weights.size());
  for (std::size_t i = 0; i < options.sources.size(); ++i) {
    members.at(options.sources[i]).push_back(static_cast<std::uint32_t>(i));
  }
  std::vector<std::uint32_t> taken;
  for (std::size_t s = 0; s < members.size(); ++s) {
    const auto n = static_cast<std::uint32_t>(members[s].size());
    const double an_epoch = options.weights[s] * n;
    const auto until = [&](double epochs) { return static_cast<std::uint64_t>(epochs * an_epoch + 1e-9); };
    const core::RandomStream random(options.seed, "plan of source " + std::to_string(s));
    std::vector<std::uint32_t> order;
    for (std::uint64_t k = until(static_cast<double>(epoch)); k < until(static_cast<double>(epoch + 1)); ++k) {
      if (options.shuffle && (order.empty() || k % n == 0)) order = random.permutation(n, k / n);
      taken.push_back(members[s][options.shuffle ? order[k % n] : k % n]);
      if (taken.size() > static_cast<std::size_t>(kMostExamples)) too_long();
    }
  }
  return taken;
}

}  // namespace

std::vector<std::uint32_t> Plan::epoch_order(std::uint64_t epoch) const {
  std::vector<std::uint32_t> taken(lengths_.size());
  std::iota(taken.begin(), taken.end(), 0u);
  if (!options_.weights.empty()) taken = weighted(options_, epoch);
  if (!options_.shuffle) return taken;
  const auto n = static_cast<std::uint32_t>(taken.size());
  std::vector<std::uint32_t> order = core::RandomStream(options_.seed, "plan").permutation(n, epoch);
  for (std::uint32_t& place : order) place = taken[place];
  return order;
}

std::vector<StepPlan> Plan::epoch_steps(std::uint64_t epoch) const {
  const std::vector<std::uint32_t> order = epoch_order(epoch);
  const std::size_t n = order.size();
  std::vector<StepPlan> steps;
  std::size_t done = 0;
  const auto add = [&](std::vector<std::uint32_t> examples) {
    done += examples.size();
    const double part = static_cast<double>(done) / static_cast<double>(n);
    steps.push_back({static_cast<double>(epoch) + part, std::move(examples)});
  };
  if (options_.batch_tokens) {
    std::int64_t all = 0;
    for (const std::uint32_t example : order) all += lengths_[example];
    const std::int64_t budget =
        product_up_to(*options_.batch_tokens, options_.grad_accum, batch_ranks(), std::max<std::int64_t>(all, 1));
    std::vector<std::uint32_t> left;
    std::size_t next = 0;
    while (done < order.size()) add(fill(left, order, next, lengths_, budget));
  } else {
    const std::int64_t size = product_up_to(
        options_.batch_size, options_.grad_accum, batch_ranks(), std::max<std::int64_t>(1, static_cast<std::int64_t>(n)));
    for (std::size_t i = 0; i < order.size(); i += static_cast<std::size_t>(size)) {
      const std::size_t end = std::min(order.size(), i + static_cast<std::size_t>(size));
      add({order.begin() + static_cast<std::ptrdiff_t>(i), order.begin() + static_cast<std::ptrdiff_t>(end)});
    }
  }
  return steps;
}

std::vector<Plan::Share> Plan::cut(const StepPlan& step) const {
  const std::size_t n = step.examples.size();
  const std::int64_t asked =
      std::max<std::int64_t>(std::int64_t{options_.grad_accum} * batch_ranks(), options_.ranks);
  const auto parts = static_cast<std::size_t>(product_up_to(asked, 1, 1, static_cast<std::int64_t>(n)));
  if (parts == 1) return {{0, n}};
  // Consecutive parts of at most `most` tokens, and never so few examples left that a later part would be empty.
  const auto parts_within = [&](std::int64_t most) {
    std::vector<Share> shares;
    for (std::size_t first = 0; first < n;) {
      const std::size_t to_come = shares.size() < parts ? parts - shares.size() - 1 : 0;
      std::size_t last = first;
      std::int64_t tokens = 0;
      while (last < n && (last == first || (tokens + lengths_[step.examples[last]] <= most && n - last > to_come))) {
        tokens += lengths_[step.examples[last++]];
      }
      shares.push_back({first, last});
      first = last;
    }
    return shares;
  };

  std::int64_t low = 0, high = 0;  // the smallest bound that is enough for `parts` parts lies in [low, high]
  for (const std::uint32_t example : step.examples) {
    low = std::max(low, lengths_[example]);
    high += lengths_[example];
  }
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (parts_within(middle).size() <= parts) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return parts_within(low);
}

std::vector<std::vector<std::uint32_t>> Plan::micro_batches(std::int64_t step, int rank) const {
  if (rank < 0 || rank >= options_.ranks) throw InternalError("micro_batches: no rank " + std::to_string(rank));
  const StepPlan& plan = this->step(step);
  const std::vector<Share> shares = cut(plan);
  const auto r = static_cast<std::size_t>(rank), ranks = static_cast<std::size_t>(options_.ranks);
  std::vector<std::vector<std::uint32_t>> result;
  for (std::size_t i = shares.size() * r / ranks; i < shares.size() * (r + 1) / ranks; ++i) {
    result.emplace_back(plan.examples.begin() + static_cast<std::ptrdiff_t>(shares[i].first),
                        plan.examples.begin() + static_cast<std::ptrdiff_t>(shares[i].last));
  }
  return result;
}

std::int64_t Plan::first_token(std::int64_t step, int rank) const {
  std::int64_t tokens = 0;
  for (int earlier = 0; earlier < rank; ++earlier) {
    for (const std::vector<std::uint32_t>& micro : micro_batches(step, earlier)) {
      for (const std::uint32_t example : micro) tokens += lengths_[example];
    }
  }
  return tokens;
}

}  // namespace lowrank::data
