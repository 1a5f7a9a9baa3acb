// Search spaces, samplers and the pruner, without any training.
#include <algorithm>
#include <cmath>
#include <set>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/train/pruner.h"
#include "lowrank/train/sampler.h"

using namespace lowrank;
using namespace lowrank::train;
using core::Json;

namespace {

Dimension choice(const std::string& name, std::vector<Json> values) {
  Dimension d;
  d.name = name;
  d.choices = std::move(values);
  return d;
}

Dimension range(const std::string& name, double low, double high, bool log = false, bool integer = false) {
  Dimension d;
  d.name = name;
  d.scale = log ? Dimension::Scale::kLog : Dimension::Scale::kUniform;
  d.low = low;
  d.high = high;
  d.integer = integer;
  return d;
}

std::string refusal(std::vector<Dimension> dimensions) {
  try {
    SearchSpace(std::move(dimensions), "space.yaml").grid();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Trials of a search over a function, one after the other.
std::vector<Trial> search(Sampler sampler, const SearchSpace& space, std::int64_t trials, std::uint64_t seed,
                          double (*loss)(const Assignment&)) {
  std::vector<Trial> done;
  for (std::int64_t i = 0; i < trials; ++i) {
    const auto next = next_trial(sampler, space, i, done, seed);
    done.push_back({i, *next, Trial::State::kComplete, loss(*next), 1, {}});
  }
  return done;
}

double best(const std::vector<Trial>& trials) {
  double value = *trials.front().value;
  for (const Trial& trial : trials) value = std::min(value, *trial.value);
  return value;
}

// A bowl with its bottom at lr = 1e-3, dropout = 0.1, rank 4; other ranks cost 0.5.
double bowl(const Assignment& a) {
  const double lr = std::log10(value_of(a, "lr")->get<double>()) + 3,
               dropout = value_of(a, "dropout")->get<double>() - 0.1;
  return lr * lr + 20 * dropout * dropout + (*value_of(a, "rank") == 4 ? 0.0 : 0.5);
}

SearchSpace bowl_space() {
  return SearchSpace({range("lr", 1e-5, 1e-1, true), range("dropout", 0, 0.5), choice("rank", {1, 4, 16, 64})},
                     "space.yaml");
}

}  // namespace

TEST_CASE("a grid is every combination once, and conditions leave dimensions out", "[unit]") {
  Dimension init = choice("init", {"default", "gaussian"});
  init.when.emplace("rank", std::vector<Json>{4, 16});
  Dimension lr = range("lr", 1e-4, 1e-2, true);
  lr.points = 3;
  // init stands before rank in the file and is put behind it.
  const SearchSpace space({init, choice("rank", {1, 4, 16}), lr}, "space.yaml");
  const auto grid = space.grid();
  std::set<std::string> seen;
  for (const Assignment& a : grid) {
    std::string text;
    for (const auto& [name, value] : a) text += name + "=" + value.dump() + " ";
    CHECK(seen.insert(text).second);
    CHECK((value_of(a, "init") != nullptr) == (*value_of(a, "rank") != 1));
  }
  CHECK(grid.size() == 3 * (1 + 2 + 2));
  CHECK(seen.count("rank=1 lr=0.001 ") == 1);  // the middle of a log scale
  CHECK(seen.count("rank=4 lr=0.01 init=\"gaussian\" ") == 1);
  CHECK(next_trial(Sampler::kGrid, space, 14, {}, 1).has_value());
  CHECK_FALSE(next_trial(Sampler::kGrid, space, 15, {}, 1).has_value());
}

TEST_CASE("a space that cannot be is refused with the reason", "[unit]") {
  CHECK(contains(refusal({}), "empty"));
  CHECK(contains(refusal({range("lr", 0, 1, true)}), "log scale begins above 0"));
  CHECK(contains(refusal({range("lr", 2, 1)}), "low < high"));
  CHECK(contains(refusal({range("lr", 1, 2)}), "points"));
  Dimension many = range("lr", 1, 2);
  many.points = 99'999'999'999;
  CHECK(contains(refusal({many}), "at most 1,000,000"));
  CHECK(contains(refusal({range("lr", -1e308, 1e308)}), "too wide"));
  Dimension whole = range("rank", 1, 1e300);
  whole.integer = true;
  CHECK(contains(refusal({whole}), "2^53"));
  CHECK(contains(refusal({choice("rank", {})}), "at least one"));
  CHECK(contains(refusal({choice("rank", {4, 4})}), "twice"));
  CHECK(contains(refusal({choice("rank", {4}), choice("rank", {8})}), "twice"));
  Dimension a = choice("alpha", {1, 2});
  a.when.emplace("rnak", std::vector<Json>{4});
  CHECK(contains(refusal({a, choice("rank", {4})}), "did you mean 'rank'"));
  a.when->first = "rank";
  a.when->second = {5};
  CHECK(contains(refusal({a, choice("rank", {4})}), "none of its choices"));
  a.when->second = {4};
  Dimension b = choice("rank", {4});
  b.when.emplace("alpha", std::vector<Json>{1});
  CHECK(contains(refusal({a, b}), "circle"));
}

TEST_CASE("random trials fill their scale, and depend on seed and number alone", "[unit]") {
  const SearchSpace space({range("lr", 1e-4, 1e-2, true), range("rank", 1, 4, false, true)}, "space.yaml");
  int low = 0;
  std::set<std::int64_t> ranks;
  for (std::int64_t i = 0; i < 400; ++i) {
    const Assignment a = *next_trial(Sampler::kRandom, space, i, {}, 5);
    CHECK(a == *next_trial(Sampler::kRandom, space, i, {Trial{}}, 5));
    const double lr = value_of(a, "lr")->get<double>();
    CHECK(lr >= 1e-4);
    CHECK(lr <= 1e-2);
    low += lr < 1e-3 ? 1 : 0;
    ranks.insert(value_of(a, "rank")->get<std::int64_t>());
  }
  CHECK(std::abs(low - 200) < 50);  // five standard deviations
  CHECK(ranks == std::set<std::int64_t>{1, 2, 3, 4});
  CHECK(*next_trial(Sampler::kRandom, space, 0, {}, 5) != *next_trial(Sampler::kRandom, space, 0, {}, 6));
}

TEST_CASE("a Parzen estimate is a density, and its draws follow it", "[unit]") {
  const SearchSpace space({range("dropout", 0, 0.5), choice("rank", {1, 4, 16})}, "space.yaml");
  const std::vector<Assignment> points = {
      {{"dropout", 0.1}, {"rank", 4}}, {{"dropout", 0.12}, {"rank", 16}}, {{"dropout", 0.4}, {"rank", 4}}};
  const Parzen parzen(space, {&points[0], &points[1], &points[2]});
  double mass = 0, below = 0;  // below: dropout under 0.25 with rank 4
  for (const int rank : {1, 4, 16}) {
    for (int i = 0; i < 4000; ++i) {
      const double part = parzen.density({{"dropout", 0.5 * (i + 0.5) / 4000}, {"rank", rank}}) / 4000;
      mass += part;
      if (rank == 4 && i < 2000) below += part;
    }
  }
  CHECK(mass == Approx(1).epsilon(1e-6));
  int drawn = 0;
  for (std::uint64_t c = 0; c < 20000; ++c) {
    const Assignment a = parzen.draw(core::RandomStream(3, "test"), 1, c);
    drawn += *value_of(a, "rank") == 4 && value_of(a, "dropout")->get<double>() < 0.25 ? 1 : 0;
  }
  CHECK(drawn / 20000.0 == Approx(below).margin(0.018));  // five standard deviations
}

TEST_CASE("TPE finds the bottom of a bowl better than random draws of equal number", "[unit]") {
  const SearchSpace space = bowl_space();
  int wins = 0;
  double tpe = 0, random = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const double a = best(search(Sampler::kTpe, space, 40, seed, bowl)),
                 b = best(search(Sampler::kRandom, space, 40, seed, bowl));
    wins += a < b ? 1 : 0;
    tpe += a / 20;
    random += b / 20;
  }
  CAPTURE(tpe, random);
  CHECK(wins >= 16);
  CHECK(tpe < 0.3 * random);
  // Gone on with after any number of trials it draws the same.
  const auto whole = search(Sampler::kTpe, space, 30, 3, bowl);
  for (const std::size_t k : {5U, 12U, 29U})
    CHECK(*next_trial(Sampler::kTpe, space, static_cast<std::int64_t>(k),
                      {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(k)}, 3) == whole[k].options);
}

TEST_CASE("TPE with conditions and failed trials", "[unit]") {
  Dimension alpha = range("alpha", 1, 64, true);
  alpha.when.emplace("rank", std::vector<Json>{4});
  const SearchSpace space({choice("rank", {1, 4}), alpha}, "space.yaml");
  std::vector<Trial> done;
  for (std::int64_t i = 0; i < 60; ++i) {
    const Assignment a = *next_trial(Sampler::kTpe, space, i, done, 1);
    REQUIRE((value_of(a, "alpha") != nullptr) == (*value_of(a, "rank") == 4));
    Trial trial{i,
                a,
                Trial::State::kComplete,
                *value_of(a, "rank") == 1 ? 1.0 : std::abs(std::log(value_of(a, "alpha")->get<double>() / 8)),
                1,
                {}};
    if (i % 7 == 3) trial = {i, a, Trial::State::kFailed, std::nullopt, 0, {}};
    done.push_back(trial);
  }
  int late = 0;  // once it has seen enough, it stays near alpha 8
  for (std::size_t i = 40; i < 60; ++i)
    if (const Json* value = value_of(done[i].options, "alpha");
        value != nullptr && std::abs(std::log(value->get<double>() / 8)) < 1)
      ++late;
  CHECK(late >= 10);
}

TEST_CASE("successive halving lets the best third of those at a rung go on", "[unit]") {
  const Pruner pruner(90);
  CHECK(pruner.rungs() == std::vector<std::int64_t>{10, 30});
  CHECK(Pruner(2).rungs() == std::vector<std::int64_t>{1});
  std::vector<Trial> done;
  const auto reached = [&](std::vector<std::pair<std::int64_t, double>> rungs) {
    done.push_back({static_cast<std::int64_t>(done.size()), {}, Trial::State::kComplete, 1.0, 90, std::move(rungs)});
  };
  CHECK(pruner.goes_on(10, 99, done));  // the first of all
  reached({{10, 3.0}, {30, 2.0}});
  CHECK(pruner.goes_on(10, 2.9, done));
  CHECK_FALSE(pruner.goes_on(10, 3.1, done));  // ⌈2/3⌉ = 1 goes on
  reached({{10, 3.1}});
  CHECK_FALSE(pruner.goes_on(10, 3.05, done));
  reached({{10, 3.05}});
  CHECK(pruner.goes_on(10, 3.01, done));  // ⌈4/3⌉ = 2 go on
  CHECK_FALSE(pruner.goes_on(10, 3.06, done));
  CHECK_FALSE(pruner.goes_on(30, 2.5, done));  // two at the second rung, one goes on
  CHECK(pruner.goes_on(30, 1.9, done));
}
