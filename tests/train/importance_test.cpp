#include "lowrank/train/importance.h"

#include <cmath>

#include "catch.h"

using namespace lowrank;
using train::Dimension;

namespace {

Dimension range(const std::string& name, Dimension::Scale scale, double low, double high) {
  Dimension d;
  d.name = name;
  d.scale = scale;
  d.low = low;
  d.high = high;
  return d;
}

Dimension choice(const std::string& name, std::vector<core::Json> choices) {
  Dimension d;
  d.name = name;
  d.choices = std::move(choices);
  return d;
}

double number(const train::Trial& trial, const char* name) {
  return train::value_of(trial.options, name)->get<double>();
}

template <typename F>
std::vector<train::Trial> trials_of(const train::SearchSpace& space, std::int64_t count, F value) {
  std::vector<train::Trial> trials;
  for (std::int64_t i = 0; i < count; ++i) {
    train::Trial trial;
    trial.number = i;
    trial.options = *train::next_trial(train::Sampler::kRandom, space, i, trials, 7);
    trial.value = value(trial);
    trials.push_back(trial);
  }
  return trials;
}

}  // namespace

TEST_CASE("in a bowl the option that bends most explains most") {
  const train::SearchSpace space(
      {range("dropout", Dimension::Scale::kUniform, 0, 0.3), range("lr", Dimension::Scale::kLog, 1e-5, 1e-1),
       choice("rank", {1, 4, 16}), choice("init", {"a", "b"})},
      "test");
  const auto trials = trials_of(space, 60, [](const train::Trial& t) {
    return 3 + std::pow(std::log10(number(t, "lr")) + 3, 2) + 0.2 * std::abs(number(t, "rank") - 4) / 12 +
           0.1 * number(t, "dropout");
  });
  const auto found = train::importance(space, trials);
  REQUIRE(found.size() == 4);
  CHECK(*found[1] > 0.7);
  for (const std::size_t other : {0, 2, 3}) CHECK(*found[other] < 0.25);
}

TEST_CASE("a choice that decides all explains all; one that decides nothing, by chance alone, next to nothing") {
  const train::SearchSpace space(
      {choice("a", {"x", "y"}), choice("b", {"x", "y"}), range("c", Dimension::Scale::kUniform, 0, 1)}, "test");
  const auto trials = trials_of(space, 200, [](const train::Trial& t) {
    return train::value_of(t.options, "a")->get<std::string>() == "x" ? 1.0 : 2.0;
  });
  const auto found = train::importance(space, trials);
  CHECK(*found[0] == Approx(1));
  CHECK(*found[1] < 0.05);
  CHECK(*found[2] < 0.05);
}

TEST_CASE("the share of the variance is that of the ranks, by hand") {
  const train::SearchSpace space({choice("a", {"x", "y"})}, "test");
  std::vector<train::Trial> trials(6);
  const double values[] = {0.1, 0.2, 50, 0.3, 0.4, 0.5};  // ranks 1 2 6 | 3 4 5; of x 3, of y 4
  for (std::size_t i = 0; i < 6; ++i) {
    trials[i].options = {{"a", i < 3 ? "x" : "y"}};
    trials[i].value = values[i];
  }
  // Between 6 · 0.5² = 1.5 of 17.5 in all: 1 − (16/17.5)·(5/4) < 0.
  CHECK(*train::importance(space, trials)[0] == 0);
  trials[2].value = 0.25;  // ranks 1 2 3 | 4 5 6: between 13.5 of 17.5
  CHECK(*train::importance(space, trials)[0] == Approx(1 - 4 / 17.5 * 5 / 4));
  trials[5].value.reset();  // failed: last, as before
  CHECK(*train::importance(space, trials)[0] == Approx(1 - 4 / 17.5 * 5 / 4));
}

TEST_CASE("an option that is there for some, and too few trials to say") {
  Dimension inner = choice("inner", {"p", "q"});
  inner.when = {"outer", {core::Json("on")}};
  const train::SearchSpace space({choice("outer", {"on", "off"}), inner}, "test");
  const auto trials = trials_of(
      space, 60, [](const train::Trial& t) { return train::value_of(t.options, "inner") == nullptr ? 2.0 : 1.0; });
  const auto found = train::importance(space, trials);
  CHECK(*found[0] == Approx(1));
  CHECK(*found[1] == Approx(1).epsilon(0.05));  // whether it is there decides
  const auto few = train::importance(space, {trials.begin(), trials.begin() + 4});
  CHECK_FALSE(few[0].has_value());
}
