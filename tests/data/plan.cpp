#include "lowrank/data/plan.h"

#include <algorithm>
#include <numeric>

#include "catch.h"
#include "errors.h"
#include "lowrank/core/random.h"

using namespace lowrank;
using data::Plan;
using data::PlanOptions;
using lowrank_test::contains;
using lowrank_test::message_of;

namespace {

std::vector<std::int64_t> uneven_lengths(std::uint32_t n, std::int64_t longest = 500) {
  const core::RandomStream random(7, "lengths");
  std::vector<std::int64_t> lengths(n);
  for (std::uint32_t i = 0; i < n; ++i) lengths[i] = 1 + static_cast<std::int64_t>(random.below(longest, i));
  return lengths;
}

std::vector<std::uint32_t> sorted(std::vector<std::uint32_t> list) {
  std::sort(list.begin(), list.end());
  return list;
}

std::int64_t tokens(const std::vector<std::uint32_t>& list, const std::vector<std::int64_t>& lengths) {
  return std::accumulate(list.begin(), list.end(), std::int64_t{0},
                         [&](std::int64_t sum, std::uint32_t i) { return sum + lengths[i]; });
}

/// Steps of one epoch of a plan, joined.
std::vector<std::uint32_t> epoch(const Plan& plan, std::int64_t first, std::int64_t last) {
  std::vector<std::uint32_t> all;
  for (std::int64_t s = first; s < last; ++s) {
    const std::vector<std::uint32_t> some = plan.step(s).examples;
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace

TEST_CASE("steps take batch-size examples in the seed's order, each epoch its own", "[unit]") {
  const auto lengths = uneven_lengths(103);
  PlanOptions options;
  options.batch_size = 4;
  options.grad_accum = 2;
  options.epochs = 3;
  const Plan plan(lengths, options);
  REQUIRE(plan.steps_per_epoch() == 13);
  REQUIRE(plan.steps() == 39);
  for (int e = 0; e < 3; ++e) {
    const auto all = epoch(plan, 13 * e, 13 * (e + 1));
    CHECK(all == core::RandomStream(42, "plan").permutation(103, e));
    CHECK(plan.step(13 * e).examples.size() == 8);
    CHECK(plan.step(13 * e + 12).examples.size() == 7);  // the short last step of an epoch
    CHECK(plan.step(13 * e + 12).epoch == e + 1);
  }
  CHECK(epoch(plan, 0, 13) != epoch(plan, 13, 26));
  CHECK(plan.step(0).epoch == Approx(8.0 / 103));
  CHECK(plan.total_tokens() == 3 * std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0}));

  const Plan again(lengths, options);
  for (std::int64_t s = 0; s < plan.steps(); ++s) CHECK(again.step(s).examples == plan.step(s).examples);
  options.seed = 43;
  CHECK(Plan(lengths, options).step(0).examples != plan.step(0).examples);
  options.shuffle = false;
  CHECK(Plan(lengths, options).step(1).examples == std::vector<std::uint32_t>{8, 9, 10, 11, 12, 13, 14, 15});
}

TEST_CASE("fractional epochs and max-steps give exact numbers of steps", "[unit]") {
  const auto lengths = uneven_lengths(100);
  PlanOptions options;  // batch 4: 25 steps an epoch
  const auto steps = [&](double epochs) {
    options.epochs = epochs;
    return Plan(lengths, options).steps();
  };
  CHECK(steps(1) == 25);
  CHECK(steps(2.5) == 63);  // as transformers: ⌈2.5 · 25⌉
  CHECK(steps(0.1) == 3);
  CHECK(steps(1.2) == 30);  // 0.2 · 25 is 5, not 5.000000001
  CHECK(steps(1e-12) == 1);
  options.epochs = 0.1;
  options.max_steps = 60;  // wins, and wraps over epochs
  const Plan plan(lengths, options);
  CHECK(plan.steps() == 60);
  CHECK(plan.steps_per_epoch() == 25);
  CHECK(plan.step(59).epoch == Approx(2.4));
  options.max_steps = 25;
  CHECK(Plan(lengths, options).steps() == 25);
  options.max_steps = 3;
  CHECK(Plan(lengths, options).steps() == 3);
}

TEST_CASE("the cut of a step into micro-batches never changes its set or order", "[unit]") {
  const auto lengths = uneven_lengths(61);
  std::vector<std::vector<std::uint32_t>> reference;
  for (const auto& [batch, accum, ranks] :
       std::vector<std::array<int, 3>>{{8, 1, 1}, {4, 2, 1}, {2, 4, 1}, {1, 8, 1}, {2, 2, 2}, {1, 1, 8}, {1, 4, 2}}) {
    PlanOptions options;
    options.batch_size = batch;
    options.grad_accum = accum;
    options.ranks = ranks;
    options.epochs = 2;
    const Plan plan(lengths, options);
    for (std::int64_t s = 0; s < plan.steps(); ++s) {
      std::vector<std::uint32_t> joined;
      std::int64_t longest = 0, before = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        CHECK(plan.first_token(s, rank) == before);
        const auto micros = plan.micro_batches(s, rank);
        CHECK(micros.size() <= static_cast<std::size_t>(accum));
        for (const auto& micro : micros) {
          CHECK_FALSE(micro.empty());
          joined.insert(joined.end(), micro.begin(), micro.end());
          longest = std::max(longest, tokens(micro, lengths));
          before += tokens(micro, lengths);
        }
      }
      const std::vector<std::uint32_t>& list = plan.step(s).examples;
      REQUIRE(joined == list);
      // No worse than the plain cut into runs of batch-size examples.
      std::int64_t plain = 0;
      for (std::size_t i = 0; i < list.size(); i += static_cast<std::size_t>(batch)) {
        const std::size_t end = std::min(list.size(), i + static_cast<std::size_t>(batch));
        plain = std::max(plain, tokens({list.begin() + i, list.begin() + end}, lengths));
      }
      CHECK(longest <= plain);
      if (reference.size() <= static_cast<std::size_t>(s)) reference.push_back(list);
      CHECK(list == reference[static_cast<std::size_t>(s)]);
    }
  }
}

TEST_CASE("a run that goes on on other ranks keeps its steps, and every rank has its part of them", "[unit]") {
  const std::vector<std::int64_t> lengths = uneven_lengths(61);
  for (const auto& [began_on, ranks] : {std::pair{1, 2}, std::pair{2, 1}, std::pair{4, 3}, std::pair{1, 4}}) {
    INFO("began on " << began_on << ", goes on on " << ranks);
    PlanOptions options;
    options.ranks = began_on;
    const Plan before(lengths, options);
    options.ranks = ranks;
    options.batch_ranks = began_on;
    const Plan after(lengths, options);
    REQUIRE(after.steps() == before.steps());
    CHECK(after.batch_ranks() == began_on);
    for (std::int64_t s = 0; s < after.steps(); ++s) {
      REQUIRE(after.step(s).examples == before.step(s).examples);
      std::vector<std::uint32_t> dealt;
      for (int rank = 0; rank < ranks; ++rank) {
        const auto own = after.micro_batches(s, rank);
        if (after.step(s).examples.size() >= static_cast<std::size_t>(ranks)) CHECK_FALSE(own.empty());
        for (const auto& micro : own) dealt.insert(dealt.end(), micro.begin(), micro.end());
      }
      CHECK(dealt == after.step(s).examples);
    }
  }
}

TEST_CASE("equal lengths are cut evenly, and a short step into fewer micro-batches", "[unit]") {
  PlanOptions options;
  options.batch_size = 2;
  options.grad_accum = 4;
  options.shuffle = false;
  options.epochs = 1;
  const Plan plan(std::vector<std::int64_t>(11, 10), options);
  REQUIRE(plan.steps() == 2);
  for (const auto& micro : plan.micro_batches(0)) CHECK(micro.size() == 2);
  CHECK(plan.micro_batches(1) == std::vector<std::vector<std::uint32_t>>{{8}, {9}, {10}});
  CHECK_THROWS_AS(plan.micro_batches(0, 1), InternalError);
}

TEST_CASE("batch-tokens fills steps with a look-ahead and leaves nothing out", "[unit]") {
  PlanOptions options;
  options.shuffle = false;
  options.epochs = 1;
  options.batch_tokens = 10;
  // 6 + 5 do not fit; the look-ahead finds the 3 and the 1, and the 5 is first in the next step. 20 goes alone.
  const Plan small({6, 5, 3, 20, 1, 4}, options);
  REQUIRE(small.steps() == 3);
  CHECK(small.step(0).examples == std::vector<std::uint32_t>{0, 2, 4});
  CHECK(small.step(1).examples == std::vector<std::uint32_t>{1, 5});
  CHECK(small.step(2).examples == std::vector<std::uint32_t>{3});

  // The search ends when 64 were passed over: the 1 behind 63 nines is found, behind 64 it is not.
  std::vector<std::int64_t> lengths(64, 9);
  lengths.push_back(1);
  CHECK(Plan(lengths, options).step(0).examples == std::vector<std::uint32_t>{0, 64});
  lengths.insert(lengths.begin(), 9);
  CHECK(Plan(lengths, options).step(0).examples == std::vector<std::uint32_t>{0});

  const auto uneven = uneven_lengths(1000, 900);
  options.shuffle = true;
  options.epochs = 2;
  options.batch_tokens = 1024;
  options.grad_accum = 2;
  const Plan plan(uneven, options);
  std::vector<std::uint32_t> everything(1000);
  std::iota(everything.begin(), everything.end(), 0u);
  CHECK(sorted(epoch(plan, 0, plan.steps_per_epoch())) == everything);
  CHECK(sorted(epoch(plan, plan.steps_per_epoch(), plan.steps())) == everything);
  for (std::int64_t s = 0; s < plan.steps(); ++s) CHECK(tokens(plan.step(s).examples, uneven) <= 2048);
  // The look-ahead closes the gaps: steps are full to 98 % on average.
  CHECK(plan.total_tokens() >= plan.steps() * 2048 * 98 / 100);

  options.batch_tokens = 2048;
  options.grad_accum = 1;  // the same product: the same steps
  const Plan uncut(uneven, options);
  REQUIRE(uncut.steps() == plan.steps());
  for (std::int64_t s = 0; s < plan.steps(); ++s) CHECK(uncut.step(s).examples == plan.step(s).examples);
}

TEST_CASE("plans that cannot be are refused by name", "[unit]") {
  const std::vector<std::int64_t> lengths = {3, 4};
  const auto refused = [&](auto change) {
    PlanOptions options;
    change(options);
    return message_of<ConfigError>([&] { Plan(lengths, options); });
  };
  CHECK(contains(refused([](PlanOptions& o) { o.batch_size = 0; }), "`batch-size`"));
  CHECK(contains(refused([](PlanOptions& o) { o.grad_accum = -1; }), "`grad-accum`"));
  CHECK(contains(refused([](PlanOptions& o) { o.batch_tokens = 0; }), "`batch-tokens`"));
  CHECK(contains(refused([](PlanOptions& o) { o.epochs = 0; }), "`epochs`"));
  CHECK(contains(refused([](PlanOptions& o) { o.epochs = std::numeric_limits<double>::quiet_NaN(); }), "`epochs`"));
  CHECK(contains(refused([](PlanOptions& o) { o.max_steps = 0; }), "`max-steps`"));
  CHECK(contains(refused([](PlanOptions& o) { o.max_steps = std::int64_t{1} << 60; }), "10 million"));
  CHECK(contains(message_of<ConfigError>([] { Plan({}, PlanOptions{}); }), "no examples"));
  PlanOptions huge;
  huge.batch_size = huge.grad_accum = huge.ranks = 2'000'000'000;  // the product overflows 64 bits
  huge.epochs = 1;
  CHECK(Plan(lengths, huge).steps() == 1);
  huge.batch_tokens = std::numeric_limits<std::int64_t>::max();
  CHECK(Plan(lengths, huge).steps() == 1);
}

TEST_CASE("plans that share a memory are as those that have none, whatever else was planned with it", "[unit]") {
  PlanOptions options;
  options.memory = data::plan_memory();
  options.grad_accum = 2;
  options.epochs = 1.5;
  const auto check = [](const std::vector<std::int64_t>& lengths, const PlanOptions& shared) {
    PlanOptions alone = shared;
    alone.memory = nullptr;
    const Plan plan(lengths, shared), expected(lengths, alone);
    REQUIRE(plan.steps() == expected.steps());
    CHECK(plan.steps_per_epoch() == expected.steps_per_epoch());
    CHECK(plan.total_tokens() == expected.total_tokens());
    CHECK(plan.largest_micro_batch() == expected.largest_micro_batch());
    std::int64_t largest = 0;
    for (std::int64_t s = 0; s < plan.steps(); ++s) {
      CHECK(plan.step(s).examples == expected.step(s).examples);
      CHECK(plan.step(s).epoch == expected.step(s).epoch);
      CHECK(plan.micro_batches(s) == expected.micro_batches(s));
      if (s >= plan.steps_per_epoch()) continue;
      for (int rank = 0; rank < plan.ranks(); ++rank) {
        for (const auto& micro : plan.micro_batches(s, rank)) largest = std::max(largest, tokens(micro, lengths));
      }
    }
    CHECK(plan.largest_micro_batch() == largest);
  };
  const auto lengths = uneven_lengths(103);
  check(lengths, options);
  std::swap(options.batch_size, options.grad_accum);  // the same steps, cut otherwise
  check(lengths, options);
  check(uneven_lengths(103, 400), options);
  check(uneven_lengths(77), options);
  options.seed = 1;
  check(lengths, options);
  options.max_steps = 5;
  check(lengths, options);
  options.batch_tokens = 1024;
  check(lengths, options);
  options.batch_tokens = 2048;
  check(lengths, options);
  options.ranks = 2;
  options.batch_ranks = 1;
  check(lengths, options);
  options.shuffle = false;
  check(lengths, options);
  options.weights = {0.5, 2};
  for (std::uint32_t i = 0; i < 103; ++i) options.sources.push_back(i % 2);
  check(lengths, options);
  options.weights = {2, 0.5};
  check(lengths, options);

  // Steps of other sizes, whose numbers of micro-batches and ranks have the same sum.
  PlanOptions cut;
  cut.memory = data::plan_memory();
  cut.grad_accum = 3;
  check(lengths, cut);
  cut.grad_accum = 2;
  cut.ranks = 2;
  check(lengths, cut);
  cut.batch_tokens = 1024;
  check(lengths, cut);
  cut.grad_accum = 1;
  check(lengths, cut);
}

TEST_CASE("lengths are shared by their copies, equal by what they hold, and never below nothing", "[unit]") {
  const data::Lengths none, three = {3, 1, 2}, copy = three, other = std::vector<std::int64_t>{3, 1, 2};
  CHECK(none.empty());
  CHECK(none.begin() == none.end());
  CHECK(copy.begin() == three.begin());
  CHECK(other.begin() != three.begin());
  CHECK(other == three);
  CHECK_FALSE(none == three);
  CHECK_FALSE(data::Lengths{3, 1} == three);
  CHECK(std::accumulate(three.begin(), three.end(), 0u) == 6);
  CHECK_THROWS_AS(data::Lengths({1, -1}), InternalError);
  CHECK_THROWS_AS(data::Lengths({std::int64_t{1} << 32}), InternalError);
}
