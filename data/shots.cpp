#include "lowrank/data/shots.h"

#include <algorithm>
#include <string>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/random.h"

namespace lowrank::data {
namespace {

/// `count` different numbers below n, by the place.
std::vector<std::uint64_t> choice(const core::RandomStream& random, std::size_t place, std::size_t count,
                                  std::uint64_t n) {
  std::vector<std::uint64_t> chosen;
  for (std::uint64_t draw = 0; chosen.size() < count; ++draw) {
    const std::uint64_t one = random.below(n, place, draw);
    if (std::find(chosen.begin(), chosen.end(), one) == chosen.end()) chosen.push_back(one);
  }
  return chosen;
}

}  // namespace

Prompted with_shots(const Dataset& evaluated, const Dataset& pool, int shots, std::int64_t max_tokens,
                    std::uint64_t seed) {
  const auto count = static_cast<std::size_t>(shots);
  if (pool.examples.size() < count) {
    throw ConfigError(std::to_string(shots) + " examples are to be shown, and the data to show holds " +
                      std::to_string(pool.examples.size()) + ": ask for fewer, or give more");
  }
  const core::RandomStream random(seed, "shots");
  Prompted result;
  result.data = evaluated;
  for (std::size_t i = 0; i < evaluated.examples.size(); ++i) {
    const Example& example = evaluated.examples[i];
    std::vector<TokenId> context;
    for (const std::uint64_t one : choice(random, i, count, pool.examples.size())) {
      const Values<TokenId> ids = pool.examples[one].ids;
      context.insert(context.end(), ids.begin(), ids.end());
    }
    const std::int64_t room = std::max<std::int64_t>(0, max_tokens - static_cast<std::int64_t>(example.ids.size()));
    if (static_cast<std::int64_t>(context.size()) > room) {
      ++result.cut;
      context.erase(context.begin(), context.end() - room);
    }
    Example& prompted = result.data.examples.own()[i];
    prompted.known_counted = -1;
    prompted.ids.insert(prompted.ids.begin(), context.begin(), context.end());
    // It has no token before it without a context either.
    if (!prompted.learned.empty()) prompted.learned.own().front() = 0;
    prompted.learned.own().insert(prompted.learned.own().begin(), context.size(), 0);
    result.context_tokens += static_cast<std::int64_t>(context.size());
  }
  if (result.context_tokens == 0 && shots > 0) {
    throw ConfigError("no evaluated example leaves room for others before it in the " + std::to_string(max_tokens) +
                      " positions of the model: lower `seq-len`, so that its pieces are shorter");
  }
  return result;
}

}  // namespace lowrank::data
