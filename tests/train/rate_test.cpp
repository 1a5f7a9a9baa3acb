// The learning-rate range test: what it chooses, that it leaves no trace, and that it is kept over an interruption.
#include "lowrank/train/rate_test.h"

#include <cmath>

#include "message.h"
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;

TEST_CASE("a range test's choice by its points", "[unit]") {
  CHECK(train::rate_test_steps(1000) == 40);
  CHECK(train::rate_test_steps(400) == 20);
  CHECK(train::rate_test_steps(10) == 12);
  // Loss before each rate's step: it falls until 1e-2's step, and rises after 1e-1's.
  const train::RateTest found =
      train::choose_rate({{1e-4, 3.0}, {1e-3, 2.99}, {1e-2, 2.8}, {1e-1, 2.1}, {1.0, 5.0}}, 2e-4);
  CHECK(found.rate == Approx(5e-3));
  CHECK(contains(found.reason, "0.005"));
  CHECK(contains(found.reason, "from 3.000 to 2.100"));
  // What never fell, or ends in no number, gives the default or what came before.
  CHECK(train::choose_rate({{1e-4, 3.0}, {1e-3, 3.1}, {1e-2, 4.0}}, 2e-4).rate == 2e-4);
  CHECK(train::choose_rate({{1e-4, 3.0}}, 2e-4).rate == 2e-4);
  CHECK(train::choose_rate({{1e-4, 3.0}, {1e-3, 2.0}, {1e-2, NAN}}, 2e-4).rate == Approx(5e-5));
  // One leap between low losses is passed over.
  CHECK(train::choose_rate({{1e-3, 4.0}, {3e-3, 3.35}, {1e-2, 3.6}, {3e-2, 3.4}, {1e-1, 7.0}}, 2e-4).rate == Approx(5e-3));
}

TEST_CASE("a run that chooses its rate trains as one that is given it, and goes on with it", "[unit]") {
  TempDir root;
  for (const char* folder : {"auto", "given", "parts"}) fs::create_directories(root / folder);
  train::TrainOptions chooses = toy_training();
  chooses.lr_auto = true;
  Toy first;
  Recorder said;
  const train::TrainResult chosen = train::Trainer(first, chooses, root / "auto", {}).run(said);
  REQUIRE(chosen.lr_test.is_object());
  CHECK(chosen.lr_test["points"].size() >= 3);
  CHECK(chosen.lr == chosen.lr_test["lr"].get<double>());
  train::TrainOptions given = toy_training();
  given.lr = chosen.lr;
  Toy second;
  Recorder quiet;
  train::Trainer(second, given, root / "given", {}).run(quiet);
  CHECK(chosen.lr_test["lr"] == given.lr);
  const std::string whole = metrics_without_times(root / "auto");
  CHECK(whole == metrics_without_times(root / "given"));

  // Stopped, and gone on with: the rate is the checkpoint's, and no test is made again.
  std::atomic<int> stop{0};
  Toy third;
  third.on_forward = [&](std::int64_t step, std::int64_t) {
    if (step == 5) stop = 2;
  };
  Recorder interrupted, resumed;
  train::Trainer(third, chooses, root / "parts", {}, &stop).run(interrupted);
  Toy fourth;
  const train::TrainResult rest = train::Trainer(fourth, chooses, root / "parts", {}).run(resumed, true);
  CHECK(rest.lr == chosen.lr);
  CHECK(rest.lr_test == chosen.lr_test);
  CHECK(metrics_without_times(root / "parts") == whole);
}
