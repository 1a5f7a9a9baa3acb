#include "lowrank/data/plan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>
#include <string>
#include <utility>

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
                                std::size_t& next, const Lengths& lengths, std::int64_t budget) {
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

std::vector<std::uint32_t> epoch_order(const PlanOptions& options, std::uint32_t examples, std::uint64_t epoch) {
  const core::RandomStream random(options.seed, "plan");
  if (options.weights.empty() && options.shuffle) return random.permutation(examples, epoch);
  std::vector<std::uint32_t> taken(examples);
  std::iota(taken.begin(), taken.end(), 0u);
  if (!options.weights.empty()) taken = weighted(options, epoch);
  if (!options.shuffle) return taken;
  std::vector<std::uint32_t> order = random.permutation(static_cast<std::uint32_t>(taken.size()), epoch);
  for (std::uint32_t& place : order) place = taken[place];
  return order;
}

}  // namespace

/// What a plan takes: a run may have the data in millions of examples, and a plan of some epochs of them. Steps of a fixed
/// number of examples are counted, and the order of an epoch is made when one of its steps is asked for.
struct Plan::Steps {
  using Order = std::shared_ptr<const std::vector<std::uint32_t>>;
  /// A step's examples, the order that they lie in, and the passes over the data that are completed after it.
  struct Taken {
    Order order;
    std::span<const std::uint32_t> examples;
    double epoch = 0;
  };

  Steps(const Lengths& tokens, const PlanOptions& how) : options(how), lengths(tokens) {
    options.memory = nullptr;
    const std::int64_t all = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
    std::int64_t examples = 0;
    while (true) {
      if (steps > kMostSteps || examples > kMostExamples) too_long();
      const std::size_t e = epochs.size();
      Epoch epoch = begun(e);
      if (epoch.size == 0 && e == 0) {
        throw ConfigError("there is nothing to train on: the weights of `data` leave no example to an epoch; raise them");
      }
      const std::int64_t whole = epoch.steps;
      if (e == 0) per_epoch = whole;
      const std::int64_t wanted =
          options.max_steps ? *options.max_steps - steps
                            : ceil_steps((options.epochs - static_cast<double>(e)) * static_cast<double>(whole));
      epoch.steps = std::clamp<std::int64_t>(wanted, e == 0 ? 1 : 0, whole);
      epoch.first = steps;
      steps += epoch.steps;
      const std::size_t taken = epoch.steps == 0 ? 0 : epoch.end(epoch.steps - 1);
      examples += static_cast<std::int64_t>(taken);
      epochs.push_back(std::move(epoch));
      if (taken == lengths.size() && options.weights.empty()) {
        total_tokens += all;
      } else if (taken > 0) {
        const Order order = order_of(e);
        for (std::size_t i = 0; i < taken; ++i) total_tokens += lengths[(*order)[i]];
      }
      if (epochs.back().steps < whole) break;
      const bool enough =
          options.max_steps ? steps >= *options.max_steps : static_cast<double>(e + 1) >= options.epochs - 1e-9;
      if (enough) break;
    }
  }

  std::int64_t ranks() const { return options.batch_ranks > 0 ? options.batch_ranks : options.ranks; }

  Taken of(std::int64_t step) const {
    const auto after = std::upper_bound(epochs.begin(), epochs.end(), step,
                                        [](std::int64_t at, const Epoch& epoch) { return at < epoch.first; });
    const auto e = static_cast<std::size_t>(after - epochs.begin()) - 1;
    const Epoch& epoch = epochs[e];
    const std::int64_t i = step - epoch.first;
    if (step < 0 || i >= epoch.steps) throw InternalError("Plan: no step " + std::to_string(step));
    Taken taken{order_of(e), {}, 0};
    const std::size_t begin = i == 0 ? 0 : epoch.end(i - 1), end = epoch.end(i);
    taken.examples = std::span(*taken.order).subspan(begin, end - begin);
    taken.epoch = static_cast<double>(e) + static_cast<double>(end) / static_cast<double>(epoch.size);
    return taken;
  }

  template <class Use>
  void for_each_of_first_epoch(const Use& use) const {
    const Order order = order_of(0);
    std::size_t begin = 0;
    for (std::int64_t i = 0; i < epochs[0].steps; ++i) {
      const std::size_t end = epochs[0].end(i);
      use(std::span(*order).subspan(begin, end - begin));
      begin = end;
    }
  }

  PlanOptions options;
  Lengths lengths;
  std::int64_t steps = 0, per_epoch = 0, total_tokens = 0;

 private:
  struct Epoch {
    std::int64_t first = 0, steps = 0;
    std::size_t size = 0;          // examples of it, of which the last epoch may take a part
    std::size_t of_step = 0;       // examples of a step; with `batch_tokens` these:
    std::vector<std::size_t> ends;  // of the steps
    Order order = nullptr;

    std::size_t end(std::int64_t step) const {
      const auto i = static_cast<std::size_t>(step);
      return ends.empty() ? std::min(size, (i + 1) * of_step) : ends[i];
    }
  };

  /// A whole one.
  Epoch begun(std::size_t e) const {
    Epoch epoch;
    if (options.batch_tokens) {
      std::vector<std::uint32_t> order = epoch_order(options, static_cast<std::uint32_t>(lengths.size()), e);
      epoch.size = order.size();
      epoch.ends = filled(order);
      epoch.steps = static_cast<std::int64_t>(epoch.ends.size());
      epoch.order = std::make_shared<const std::vector<std::uint32_t>>(std::move(order));
      return epoch;
    }
    epoch.size = options.weights.empty() ? lengths.size() : weighted(options, e).size();
    const auto most = std::max<std::int64_t>(1, static_cast<std::int64_t>(epoch.size));
    epoch.of_step = static_cast<std::size_t>(product_up_to(options.batch_size, options.grad_accum, ranks(), most));
    epoch.steps = static_cast<std::int64_t>((epoch.size + epoch.of_step - 1) / epoch.of_step);
    return epoch;
  }

  /// Puts an epoch's examples into the order of its steps, as `batch_tokens` has them; where each ends.
  std::vector<std::size_t> filled(std::vector<std::uint32_t>& order) const {
    std::int64_t all = 0;
    for (const std::uint32_t example : order) all += lengths[example];
    const std::int64_t budget =
        product_up_to(*options.batch_tokens, options.grad_accum, ranks(), std::max<std::int64_t>(all, 1));
    std::vector<std::size_t> ends;
    std::vector<std::uint32_t> left, taken;
    taken.reserve(order.size());
    for (std::size_t next = 0; taken.size() < order.size();) {
      const std::vector<std::uint32_t> step = fill(left, order, next, lengths, budget);
      taken.insert(taken.end(), step.begin(), step.end());
      ends.push_back(taken.size());
    }
    order = std::move(taken);
    return ends;
  }

  Order order_of(std::size_t e) const {
    if (epochs[e].order != nullptr) return epochs[e].order;
    const std::lock_guard<std::mutex> lock(mutex);
    for (const auto& [epoch, order] : made) {
      if (order != nullptr && epoch == e) return order;
    }
    const auto n = static_cast<std::uint32_t>(lengths.size());
    std::swap(made[0], made[1]);
    made[0] = {e, nullptr};
    made[0].second = std::make_shared<const std::vector<std::uint32_t>>(epoch_order(options, n, e));
    return made[0].second;
  }

  std::vector<Epoch> epochs;
  mutable std::mutex mutex;
  mutable std::array<std::pair<std::size_t, Order>, 2> made = {};  // last: a run goes from one to the next
};

/// The steps that were made last.
class PlanMemory {
 public:
  std::shared_ptr<const Plan::Steps> steps(const Lengths& lengths, const PlanOptions& options) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (steps_ == nullptr || !same(steps_->options, options) || !(lengths == steps_->lengths)) {
      steps_ = nullptr;
      steps_ = std::make_shared<const Plan::Steps>(lengths, options);
    }
    return steps_;
  }

 private:
  /// Steps do not depend on how they are cut.
  static std::int64_t step_size(const PlanOptions& options) {
    return std::int64_t{options.grad_accum} * (options.batch_ranks > 0 ? options.batch_ranks : options.ranks);
  }
  static bool same(const PlanOptions& a, const PlanOptions& b) {
    const bool sizes = a.batch_tokens ? a.batch_tokens == b.batch_tokens && step_size(a) == step_size(b)
                                      : !b.batch_tokens && a.batch_size * step_size(a) == b.batch_size * step_size(b);
    return sizes && a.epochs == b.epochs && a.max_steps == b.max_steps && a.shuffle == b.shuffle && a.seed == b.seed &&
           a.weights == b.weights && a.sources == b.sources;
  }

  std::mutex mutex_;
  std::shared_ptr<const Plan::Steps> steps_;
};

std::shared_ptr<PlanMemory> plan_memory() { return std::make_shared<PlanMemory>(); }

Plan::Plan(const Lengths& lengths, const PlanOptions& options) : options_(options) {
  check(options);
  if (lengths.empty()) throw ConfigError("there is nothing to train on: the data holds no examples");
  if (!options.weights.empty() && options.sources.size() != lengths.size()) {
    throw InternalError("Plan: weights without the source of each example");
  }
  steps_ = options.memory != nullptr ? options.memory->steps(lengths, options)
                                     : std::make_shared<const Steps>(lengths, options);
  options_.sources.clear();
}

std::int64_t Plan::steps() const { return steps_->steps; }

std::int64_t Plan::steps_per_epoch() const { return steps_->per_epoch; }

std::int64_t Plan::total_tokens() const { return steps_->total_tokens; }

StepPlan Plan::step(std::int64_t i) const {
  const Steps::Taken taken = steps_->of(i);
  return {taken.epoch, {taken.examples.begin(), taken.examples.end()}};
}

std::int64_t Plan::tokens_of(std::span<const std::uint32_t> examples) const {
  std::int64_t tokens = 0;
  for (const std::uint32_t example : examples) tokens += steps_->lengths[example];
  return tokens;
}

std::size_t Plan::parts_of(std::size_t examples) const {
  const std::int64_t asked =
      std::max<std::int64_t>(std::int64_t{options_.grad_accum} * batch_ranks(), options_.ranks);
  return static_cast<std::size_t>(product_up_to(asked, 1, 1, static_cast<std::int64_t>(examples)));
}

std::vector<Plan::Share> Plan::cut(std::span<const std::uint32_t> examples) const {
  const Lengths& lengths = steps_->lengths;
  const std::size_t n = examples.size(), parts = parts_of(n);
  if (parts == 1) return {{0, n}};
  // Consecutive parts of at most `most` tokens, and never so few examples left that a later part would be empty.
  const auto parts_within = [&](std::int64_t most) {
    std::vector<Share> shares;
    for (std::size_t first = 0; first < n;) {
      const std::size_t to_come = shares.size() < parts ? parts - shares.size() - 1 : 0;
      std::size_t last = first;
      std::int64_t tokens = 0;
      while (last < n && (last == first || (tokens + lengths[examples[last]] <= most && n - last > to_come))) {
        tokens += lengths[examples[last++]];
      }
      shares.push_back({first, last});
      first = last;
    }
    return shares;
  };

  std::int64_t low = 0, high = 0;  // the smallest bound that is enough for `parts` parts lies in [low, high]
  for (const std::uint32_t example : examples) {
    low = std::max<std::int64_t>(low, lengths[example]);
    high += lengths[example];
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
  const Steps::Taken taken = steps_->of(step);
  const std::span<const std::uint32_t> examples = taken.examples;
  const std::vector<Share> shares = cut(examples);
  const auto r = static_cast<std::size_t>(rank), ranks = static_cast<std::size_t>(options_.ranks);
  std::vector<std::vector<std::uint32_t>> result;
  for (std::size_t i = shares.size() * r / ranks; i < shares.size() * (r + 1) / ranks; ++i) {
    result.emplace_back(examples.begin() + static_cast<std::ptrdiff_t>(shares[i].first),
                        examples.begin() + static_cast<std::ptrdiff_t>(shares[i].last));
  }
  return result;
}

std::int64_t Plan::first_token(std::int64_t step, int rank) const {
  std::int64_t tokens = 0;
  for (int earlier = 0; earlier < rank; ++earlier) {
    for (const std::vector<std::uint32_t>& micro : micro_batches(step, earlier)) tokens += tokens_of(micro);
  }
  return tokens;
}

std::int64_t Plan::largest_micro_batch() const {
  std::int64_t most = 0;
  steps_->for_each_of_first_epoch([&](std::span<const std::uint32_t> examples) {
    if (parts_of(examples.size()) == 1) {
      most = std::max(most, tokens_of(examples));
      return;
    }
    for (const Share& share : cut(examples)) {
      most = std::max(most, tokens_of(examples.subspan(share.first, share.last - share.first)));
    }
  });
  return most;
}

}  // namespace lowrank::data
