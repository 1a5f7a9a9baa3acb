#include <chrono>
#include <thread>

#include "lowrank/core/error.h"
#include "message.h"
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

struct Killed : std::exception {};

/// Runs until just before step `kill` (from 0) is done, as a crash there would leave it; then resumes to the end.
void run_with_crash(const ToyOptions& shape, const train::TrainOptions& options, const fs::path& out,
                    std::int64_t kill) {
  Recorder recorder;
  {
    Toy toy(shape);
    toy.on_forward = [&](std::int64_t step, std::int64_t micro) {
      if (step == kill && micro == 1) throw Killed();
    };
    CHECK_THROWS_AS(train::Trainer(toy, options, out, {}).run(recorder), Killed);
  }
  Toy toy(shape);
  train::Trainer(toy, options, out, {}).run(recorder, true);
}

core::Json changed_identity(const fs::path& out, const train::TrainOptions& options, core::Json identity, bool force,
                            std::string* message, Recorder* recorder) {
  Toy toy;
  *message = message_of<ConfigError>([&] { train::Trainer(toy, options, out, identity).run(*recorder, true, force); });
  return identity;
}

}  // namespace

TEST_CASE("killed in any step and resumed, a run ends with the same bytes", "[unit]") {
  keep_files_in_memory();
  for (const bool uphill : {false, true}) {
    for (const std::int64_t save_every : {1, 2, 5}) {
      ToyOptions shape;
      shape.uphill = uphill;
      train::TrainOptions options = toy_training();
      options.save_every = save_every;
      options.l1 = 1e-4;
      if (uphill) options.early_stopping = 3;
      TempDir whole;
      Toy toy(shape);
      Recorder recorder;
      const auto uninterrupted = train::Trainer(toy, options, whole.path(), {}).run(recorder);
      const auto expected = results_of(whole.path());
      for (std::int64_t kill = 0; kill < uninterrupted.steps; ++kill) {
        INFO("uphill " << uphill << " save every " << save_every << " killed in step " << kill);
        TempDir out;
        run_with_crash(shape, options, out.path(), kill);
        CHECK(differing(results_of(out.path()), expected) == "");
      }
    }
  }
}

TEST_CASE("a run at its last step resumes to the same end without training or evaluating", "[unit]") {
  TempDir out;
  Recorder recorder;
  Toy toy;
  const auto first = train::Trainer(toy, toy_training(), out.path(), {}).run(recorder);
  const auto before = results_of(out.path());
  fs::remove(out / "adapter_model.safetensors");
  Toy again;
  Recorder second;
  const auto result = train::Trainer(again, toy_training(), out.path(), {}).run(second, true);
  CHECK(second.steps.empty());
  CHECK(again.evaluations == 0);
  CHECK(second.first_step == 12);
  CHECK(differing(results_of(out.path()), before) == "");
  CHECK(result.last_loss == first.last_loss);
  CHECK(result.tokens == first.tokens);
  CHECK(result.before.at(1).loss == first.before.at(1).loss);
  CHECK(result.after.at(1).loss == first.after.at(1).loss);
  CHECK(result.best_loss == first.best_loss);
}

TEST_CASE("resume without a checkpoint starts at the beginning and says so", "[unit]") {
  TempDir whole, out;
  Recorder recorder;
  Toy toy, other;
  train::Trainer(toy, toy_training(), whole.path(), {}).run(recorder);
  write_text(out / "metrics.jsonl", "left over\n");
  train::Trainer(other, toy_training(), out.path(), {}).run(recorder, true);
  CHECK(recorder.noted("starting from the beginning"));
  CHECK(differing(results_of(out.path()), results_of(whole.path())) == "");
}

TEST_CASE("a folder with a checkpoint is not started over", "[unit]") {
  TempDir out;
  Recorder recorder;
  Toy toy, other;
  train::Trainer(toy, toy_training(), out.path(), {}).run(recorder);
  CHECK(contains(message_of<ConfigError>([&] { train::Trainer(other, toy_training(), out.path(), {}).run(recorder); }),
                 "`resume`"));
}

TEST_CASE("options that differ from the checkpoint's are listed and refused, unless forced", "[unit]") {
  TempDir out;
  Recorder recorder;
  Toy toy;
  const core::Json identity = {{"base", "abc"}, {"LibTorch", "2.13"}};
  std::atomic<int> stop{0};
  toy.on_forward = [&](std::int64_t step, std::int64_t) { stop = step == 5 ? 2 : 0; };
  train::Trainer(toy, toy_training(), out.path(), identity, &stop).run(recorder);
  const auto files = results_of(out.path());

  train::TrainOptions options = toy_training();
  options.lr = 0.06;
  std::string message;
  changed_identity(out.path(), options, {{"base", "abd"}, {"LibTorch", "2.13"}, {"new", 1}}, false, &message,
                   &recorder);
  INFO(message);
  CHECK(contains(message, "base: abc then, abd now"));
  CHECK(contains(message, "--lr: 0.05 then, 0.06 now"));
  CHECK(contains(message, "new: not set then, 1 now"));
  CHECK_FALSE(contains(message, "LibTorch"));
  CHECK(differing(results_of(out.path()), files) == "");

  options.save_every = 1;  // free to differ
  options.keep_last = 5;
  changed_identity(out.path(), options, {{"base", "abd"}}, true, &message, &recorder);
  CHECK(message.empty());
  CHECK(recorder.noted("not bit-exact"));
  CHECK(train::list_checkpoints(out.path()).back().first == 12);
}

TEST_CASE("a checkpoint of other parameters is refused even when forced", "[unit]") {
  TempDir out;
  Recorder recorder;
  Toy toy;
  train::Trainer(toy, toy_training(), out.path(), {}).run(recorder);
  ToyOptions wider;
  wider.width = 8;
  Toy other(wider);
  CHECK(contains(
      message_of<ModelError>([&] { train::Trainer(other, toy_training(), out.path(), {}).run(recorder, true, true); }),
      "other parameters"));
}

TEST_CASE("metrics that were cut by somebody are reported", "[unit]") {
  TempDir out;
  Recorder recorder;
  Toy toy, again;
  train::Trainer(toy, toy_training(), out.path(), {}).run(recorder);
  fs::resize_file(out / "metrics.jsonl", 10);
  train::Trainer(again, toy_training(), out.path(), {}).run(recorder, true);
  CHECK(recorder.noted("lacks rows"));
}

TEST_CASE("seconds go on from the checkpoint as tokens do", "[unit]") {
  keep_files_in_memory();
  TempDir out;
  Recorder recorder;
  std::atomic<int> stop{0};
  recorder.after_step = [&](std::int64_t step) { stop = step == 6 ? 2 : 0; };
  Toy slow;
  slow.on_forward = [](std::int64_t, std::int64_t) { std::this_thread::sleep_for(std::chrono::milliseconds(4)); };
  const auto first = train::Trainer(slow, toy_training(), out.path(), {}, &stop).run(recorder);
  REQUIRE(first.steps == 6);
  CHECK(first.seconds >= 6 * 3 * 0.004);
  Toy quick;
  Recorder second;
  const auto whole = train::Trainer(quick, toy_training(), out.path(), {}).run(second, true);
  CHECK(whole.steps == 12);
  CHECK(whole.tokens == 2 * first.tokens);
  CHECK(whole.seconds > first.seconds);
}
