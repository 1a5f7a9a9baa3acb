#include "lowrank/train/spikes.h"

#include <cmath>

#include "lowrank/core/error.h"
#include "message.h"
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

ToyOptions with_spike(int times = 1 << 20) {
  ToyOptions shape;
  shape.steps = 40;
  shape.spike_at = 30;
  shape.spikes = times;
  return shape;
}

train::TrainOptions on_spike(train::OnSpike what) {
  train::TrainOptions options = toy_training();
  options.on_spike = what;
  return options;
}

}  // namespace

TEST_CASE("a step spikes from the twentieth on, above six deviations, or where it is no number", "[unit]") {
  train::SpikeWatch watch(train::OnSpike::kSkip);
  for (int i = 0; i < 19; ++i) {
    CHECK(watch.fault(1e6, 1).empty());  // nothing to compare with yet
    watch.took(i % 2 == 0 ? 1.9 : 2.1, 1.0);
  }
  CHECK(watch.fault(NAN, 1) == "the loss is nan");
  CHECK(watch.fault(2, INFINITY) == "the gradient's norm is inf");
  watch.took(2.1, 1.0);
  CHECK(watch.fault(2.59, 1).empty());  // the mean is 2.0, the deviation 0.1
  CHECK(watch.fault(2.63, 1) == "the loss is 2.63, 6 deviations above the 2 of the 20 steps before");
  CHECK(watch.fault(0.1, 1).empty());  // a loss may fall
  // Norms that are all equal are no reason to take the smallest rise for a spike.
  CHECK(watch.fault(2, 1.05).empty());
  CHECK(watch.fault(2, 1.07) == "the gradient's norm is 1.07, 7 deviations above the 1 of the 20 steps before");
  CHECK(train::SpikeWatch(train::OnSpike::kIgnore).fault(NAN, NAN).empty());
}

TEST_CASE("what a watch remembers comes back from a checkpoint as it was, and is judged when it is not whole", "[unit]") {
  train::SpikeWatch watch(train::OnSpike::kRollback);
  for (int i = 0; i < 200; ++i) watch.took(1.0 / (i + 3), std::sqrt(i));
  watch.left_out(201, "the loss is nan", "rolled back");
  const core::Json saved = watch.to_json();
  CHECK(saved["losses"].size() == 128);
  train::SpikeWatch again(train::OnSpike::kRollback);
  const core::Json read = core::Json::parse(saved.dump());
  again.restore(core::JsonView(read, "state"));
  CHECK(again.to_json() == saved);
  core::Json broken = saved;
  broken["norms"] = 3;
  CHECK_THROWS_AS(again.restore(core::JsonView(broken, "state")), FormatError);
}

TEST_CASE("a spike stops the run, and names its documents; nothing is looked for unasked", "[unit]") {
  for (const bool asked : {false, true}) {
    TempDir out;
    Toy toy(with_spike());
    Recorder recorder;
    train::Trainer trainer(toy, on_spike(asked ? train::OnSpike::kStop : train::OnSpike::kIgnore), out.path(), {});
    if (!asked) {
      CHECK(trainer.run(recorder).steps == 40);
      continue;
    }
    const std::string said = message_of<DataError>([&] { trainer.run(recorder); });
    CHECK(said.find("at step 31 of 40 the loss is ") == 0);
    CHECK(said.find("toy batch 30") != std::string::npos);
    CHECK(recorder.steps.size() == 30);
  }
}

TEST_CASE("a step that is skipped leaves the parameters and says so", "[unit]") {
  TempDir out;
  Toy toy(with_spike());
  Recorder recorder;
  at::Tensor before, after;
  recorder.after_step = [&](std::int64_t step) {
    if (step == 30) before = toy.weight.detach().clone();
    if (step == 31) after = toy.weight.detach().clone();
  };
  const train::TrainResult result = train::Trainer(toy, on_spike(train::OnSpike::kSkip), out.path(), {}).run(recorder);
  CHECK(result.steps == 40);
  CHECK(before.equal(after));
  CHECK(recorder.noted("the step is left out"));
  CHECK(result.spikes.size() == 1);
  CHECK(result.spikes[0]["step"] == 31);
  CHECK(read_text(out / "metrics.jsonl").find("\"left_out\":true") != std::string::npos);
  CHECK(result.last_loss < 100);
}

TEST_CASE("a run with a skipped step that is killed anywhere and resumed ends with the same bytes", "[unit]") {
  keep_files_in_memory();
  struct Killed : std::exception {};
  TempDir whole;
  Recorder recorder;
  Toy toy(with_spike());
  train::Trainer(toy, on_spike(train::OnSpike::kSkip), whole.path(), {}).run(recorder);
  for (const std::int64_t kill : {3, 29, 30, 31, 33, 39}) {
    TempDir out;
    Toy first(with_spike());
    first.on_forward = [&](std::int64_t step, std::int64_t) {
      if (step == kill) throw Killed();
    };
    CHECK_THROWS_AS(train::Trainer(first, on_spike(train::OnSpike::kSkip), out.path(), {}).run(recorder), Killed);
    Toy second(with_spike());
    train::Trainer(second, on_spike(train::OnSpike::kSkip), out.path(), {}).run(recorder, true);
    CHECK(differing(results_of(out.path()), results_of(whole.path())) == "");
  }
}

TEST_CASE("a spike rolls the run back to its last checkpoint, at half the rate; the fourth one stops it", "[unit]") {
  for (const int times : {1, 3, 4}) {
    TempDir out;
    Toy toy(with_spike(times));
    Recorder recorder;
    train::Trainer trainer(toy, on_spike(train::OnSpike::kRollback), out.path(), {});
    if (times == 4) {
      CHECK(message_of<DataError>([&] { trainer.run(recorder); }).find(", after 3 rollbacks") != std::string::npos);
      continue;
    }
    const train::TrainResult result = trainer.run(recorder);
    CHECK(result.steps == 40);
    CHECK(result.spikes.size() == static_cast<std::size_t>(times));
    CHECK(recorder.noted("checkpoint-30, to go on from at 0.5 of the learning rate"));
    // The rows of metrics.jsonl are those of the steps that count, each once.
    const std::string rows = metrics_without_times(out.path());
    std::size_t of_31 = 0;
    for (std::size_t at = 0; (at = rows.find("\"step\":31,", at)) != std::string::npos; ++at) ++of_31;
    CHECK(of_31 == 1);
    // Linear, warmed up: the rates after step 30 are those of the schedule times the halves.
    const double usual = train::run_rate(train::Schedule::kLinear, 0.05, 39, 40, train::warmup_steps(0.03, 40));
    CHECK(recorder.steps.back().lr == Approx(usual * std::pow(0.5, times)));
  }
}
