// Evaluations on the way measure a part; the start and the result are measured in whole, over an interruption too.
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

/// Its whole is another set than its part.
class PartToy : public Toy {
 public:
  using Toy::Toy;
  std::vector<train::EvalResult> evaluate_whole() override {
    ++wholes;
    const double size = weight.abs().sum().item<double>() + bias.abs().sum().item<double>();
    return {{"validation", size, 1200}};
  }
  int wholes = 0;
};

struct WholeRecorder : Recorder {
  std::vector<std::int64_t> wholes;
  std::int64_t every = 0;
  void on_whole_eval(std::int64_t step, const std::vector<train::EvalResult>&) override { wholes.push_back(step); }
  void on_evaluations(std::int64_t n) override { every = n; }
};

}  // namespace

TEST_CASE("the start and what is at the top are measured in whole, once each", "[unit]") {
  TempDir root;
  for (const bool uphill : {false, true}) {  // uphill: the best is the start, and it is that which is measured
    CAPTURE(uphill);
    const fs::path whole = root / (uphill ? "up" : "down"), parts = root / (uphill ? "up-parts" : "down-parts");
    fs::create_directories(whole);
    fs::create_directories(parts);
    PartToy toy({.uphill = uphill});
    WholeRecorder recorder;
    const train::TrainResult result = train::Trainer(toy, toy_training(), whole, {}).run(recorder);
    CHECK(toy.wholes == 2);
    CHECK(toy.evaluations == 5);
    CHECK(recorder.every == 3);
    CHECK(recorder.wholes == std::vector<std::int64_t>{0, 12});
    REQUIRE(result.before.size() == 1);
    REQUIRE(result.after.size() == 1);
    CHECK(result.before[0].tokens == 1200);
    CHECK(result.after[0].tokens == 1200);
    const double top = toy.weight.abs().sum().item<double>() + toy.bias.abs().sum().item<double>();
    CHECK(result.after[0].loss == top);  // the parameters are those of the top
    CHECK((result.after[0].loss == result.before[0].loss) == uphill);

    std::atomic<int> stop{0};
    PartToy first({.uphill = uphill});
    first.on_forward = [&](std::int64_t step, std::int64_t) {
      if (step == 5) stop = 2;
    };
    Recorder one, two;
    train::Trainer(first, toy_training(), parts, {}, &stop).run(one);
    PartToy second({.uphill = uphill});
    const train::TrainResult rest = train::Trainer(second, toy_training(), parts, {}).run(two, true);
    CHECK(second.wholes == 1);
    CHECK(train::to_json(rest.before) == train::to_json(result.before));
    CHECK(train::to_json(rest.after) == train::to_json(result.after));
    CHECK(differing(results_of(parts), results_of(whole)).empty());
  }
}
