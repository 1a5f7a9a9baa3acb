#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adamw.h>

#include "lowrank/core/error.h"
#include "message.h"
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

train::TrainResult run_toy(Toy& toy, const train::TrainOptions& options, const fs::path& out, Recorder& recorder,
                           std::atomic<int>* stop = nullptr, bool resume = false) {
  return train::Trainer(toy, options, out, {{"data", "toy"}}, stop).run(recorder, resume);
}

/// The same training with torch::optim::AdamW and plain autograd.
std::vector<double> reference_losses(const ToyOptions& shape, const train::TrainOptions& options) {
  Toy toy(shape);
  torch::optim::AdamW adamw({toy.weight, toy.bias}, torch::optim::AdamWOptions(options.lr)
                                                        .betas({options.beta1, options.beta2})
                                                        .eps(options.eps)
                                                        .weight_decay(options.weight_decay));
  std::vector<double> losses;
  const auto warmup = train::warmup_steps(options.warmup, shape.steps);
  for (std::int64_t step = 0; step < shape.steps; ++step) {
    adamw.zero_grad();
    double value = 0;
    std::int64_t count = 0;
    at::Tensor sum = torch::zeros({});
    for (std::int64_t m = 0; m < shape.micro; ++m) {
      const auto loss = toy.forward(step, m);
      sum = sum + loss.loss_sum;
      value += loss.value;
      count += loss.count;
    }
    at::Tensor objective = sum / static_cast<double>(count);
    if (options.l2 != 0) objective = objective + options.l2 / 2 * (toy.weight.square().sum() + toy.bias.square().sum());
    objective.backward();
    if (options.clip > 0) torch::nn::utils::clip_grad_norm_({toy.weight, toy.bias}, options.clip);
    static_cast<torch::optim::AdamWOptions&>(adamw.param_groups()[0].options())
        .lr(train::run_rate(options.schedule, options.lr, step, shape.steps, warmup));
    adamw.step();
    losses.push_back(value / static_cast<double>(count));
  }
  return losses;
}

}  // namespace

TEST_CASE("a micro-batch of one token has its gradient, and one of none has none", "[unit]") {
  at::Tensor weight = torch::ones({}).set_requires_grad(true);
  train::MicroBatches done;
  done.differentiate({.loss_sum = weight * 3, .value = 3, .count = 1, .tokens = 1});
  done.differentiate({.loss_sum = weight * 5, .count = 0, .tokens = 2});
  CHECK(weight.grad().item<double>() == 3);
  train::StepTotals totals;
  done.add_to(totals);
  CHECK(totals.loss == 3);
  CHECK(totals.count == 1);
  CHECK(totals.tokens == 3);
}

TEST_CASE("without an interval a run shorter than ten steps is evaluated at each of them", "[unit]") {
  TempDir out;
  ToyOptions shape;
  shape.steps = 3;
  Toy toy(shape);
  train::TrainOptions options = toy_training();
  options.eval_every = 0;
  Recorder recorder;
  run_toy(toy, options, out.path(), recorder);
  CHECK(recorder.evaluated == std::vector<std::int64_t>{0, 1, 2, 3});
}

TEST_CASE("the loop's loss curve is that of torch::optim::AdamW by hand", "[unit]") {
  ToyOptions shape;
  shape.steps = 30;
  for (int variant = 0; variant < 4; ++variant) {
    train::TrainOptions options = toy_training();
    options.weight_decay = variant == 1 ? 0.1 : 0;
    options.l2 = variant == 2 ? 0.3 : 0;
    options.clip = variant == 3 ? 0 : 0.7;
    const auto expected = reference_losses(shape, options);
    TempDir out;
    Toy toy(shape);
    Recorder recorder;
    run_toy(toy, options, out.path(), recorder);
    REQUIRE(recorder.steps.size() == expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      INFO("variant " << variant << " step " << i + 1);
      CHECK(recorder.steps[i].loss == Approx(expected[i]).epsilon(1e-6));
    }
    CHECK(recorder.steps.back().loss < 0.9 * recorder.steps.front().loss);
  }
}

TEST_CASE("micro-batches of unequal counts weigh by their counts", "[unit]") {
  // One step whose gradient is known: the mean over all rows, not the mean of the micro-batches' means.
  ToyOptions shape;
  shape.steps = 1;
  shape.micro = 4;
  Toy probe(shape);
  at::Tensor sum = torch::zeros({});
  std::int64_t count = 0;
  for (std::int64_t m = 0; m < shape.micro; ++m) {
    const auto loss = probe.forward(0, m);
    sum = sum + loss.loss_sum;
    count += loss.count;
  }
  (sum / static_cast<double>(count)).backward();
  const double norm = torch::cat({probe.weight.grad().flatten(), probe.bias.grad()}).norm().item<double>();

  TempDir out;
  Toy toy(shape);
  Recorder recorder;
  run_toy(toy, toy_training(), out.path(), recorder);
  CHECK(recorder.steps.at(0).grad_norm == Approx(norm).epsilon(1e-6));
}

TEST_CASE("gradients and totals go through the seam for several ranks before they are divided", "[unit]") {
  // Two ranks that see the same data: sums double, and so does the count.
  struct Twice : train::GradSync {
    int rank() const override { return 0; }
    int ranks() const override { return 2; }
    void sum(at::Tensor& gradients, train::StepTotals& totals) override {
      gradients.mul_(2);
      totals.loss *= 2;
      totals.count *= 2;
      totals.tokens *= 2;
    }
    std::vector<std::string> gather(const std::string& bytes) override { return {bytes, bytes}; }
  } twice;
  TempDir one, two;
  Toy alone, together;
  Recorder recorder;
  run_toy(alone, toy_training(), one.path(), recorder);
  train::Trainer(together, toy_training(), two.path(), {}, nullptr, &twice).run(recorder);
  CHECK(recorder.steps.at(12).loss == recorder.steps.at(0).loss);
  CHECK(recorder.steps.at(23).loss == Approx(recorder.steps.at(11).loss).epsilon(1e-6));
  CHECK(recorder.steps.at(23).tokens == 2 * recorder.steps.at(11).tokens);
}

TEST_CASE("metrics.jsonl has a row a step and a row an evaluation set, with the agreed keys", "[unit]") {
  TempDir out;
  Toy toy;
  Recorder recorder;
  train::TrainOptions options = toy_training();
  options.l1 = 1e-3;
  const auto result = run_toy(toy, options, out.path(), recorder);
  std::vector<core::Json> steps, evaluations;
  std::istringstream in(read_text(out / "metrics.jsonl"));
  for (std::string line; std::getline(in, line);) {
    const auto row = core::Json::parse(line);
    (row.contains("loss") ? steps : evaluations).push_back(row);
  }
  REQUIRE(steps.size() == 12);
  for (const char* key :
       {"step", "epoch", "loss", "lr", "grad_norm", "tokens", "tokens_per_second", "peak_rss_bytes", "penalty"}) {
    INFO(key);
    CHECK(steps[0].contains(key));
  }
  CHECK(steps[11]["step"] == 12);
  CHECK(steps[11]["tokens"] == 12 * 180);
  CHECK(steps[0]["peak_rss_bytes"].get<std::int64_t>() > 10'000'000);
  CHECK(evaluations.size() == 2 * 5);  // before, 3, 6, 9, 12; two sets
  CHECK(evaluations[0] ==
        core::Json({{"step", 0}, {"eval_loss", result.before[0].loss}, {"split", "validation"}, {"tokens", 12}}));
  CHECK(evaluations[9]["split"] == "general");
  CHECK(evaluations[9]["step"] == 12);
}

TEST_CASE("without a penalty there is no penalty key, and intervals default to ten and five a run", "[unit]") {
  TempDir out;
  ToyOptions shape;
  shape.steps = 25;
  Toy toy(shape);
  Recorder recorder;
  train::TrainOptions options = toy_training();
  options.eval_every = options.save_every = 0;
  run_toy(toy, options, out.path(), recorder);
  CHECK_FALSE(contains(read_text(out / "metrics.jsonl"), "penalty"));
  CHECK(recorder.evaluated == std::vector<std::int64_t>{0, 3, 6, 9, 12, 15, 18, 21, 24, 25});
}

TEST_CASE("L1 makes exact zeros and says how many", "[unit]") {
  ToyOptions shape;
  shape.steps = 40;
  train::TrainOptions options = toy_training();
  options.schedule = train::Schedule::kConstant;
  TempDir without, with;
  Toy plain(shape), sparse(shape);
  Recorder recorder;
  CHECK(run_toy(plain, options, without.path(), recorder).exact_zeros == 0);
  options.l1 = 0.8;
  const auto result = run_toy(sparse, options, with.path(), recorder);
  CHECK(result.exact_zeros > 0.1);
  const auto zeros = (sparse.weight == 0).sum().item<double>() + (sparse.bias == 0).sum().item<double>();
  CHECK(result.exact_zeros == Approx(zeros / 24));
}

TEST_CASE("the adapter on top is the best by validation, and `after` is its evaluation", "[unit]") {
  ToyOptions shape;
  shape.uphill = true;
  TempDir out;
  Toy toy(shape);
  const at::Tensor start = toy.weight.detach().clone();
  Recorder recorder;
  const auto result = run_toy(toy, toy_training(), out.path(), recorder);
  CHECK(result.stop == train::TrainResult::Stop::kFinished);
  CHECK(result.steps == 12);
  CHECK(result.best_step == 0);
  CHECK(result.top_is_best);
  CHECK(torch::equal(toy.weight, start));
  CHECK(result.after.at(0).loss == result.before.at(0).loss);
  CHECK(result.after.at(0).loss == toy.evaluate().at(0).loss);
  CHECK(result.after.at(1).loss == toy.evaluate().at(1).loss);
  CHECK((read_text(out / "adapter_model.safetensors") ==
         read_text(train::checkpoint_path(out.path(), 0) / "adapter_model.safetensors")));
  CHECK((read_text(out / "adapter_model.safetensors") !=
         read_text(train::checkpoint_path(out.path(), 12) / "adapter_model.safetensors")));
}

TEST_CASE("without validation the last is on top, and nothing is called best", "[unit]") {
  ToyOptions shape;
  shape.validation = false;
  TempDir out;
  Toy toy(shape);
  Recorder recorder;
  const auto result = run_toy(toy, toy_training(), out.path(), recorder);
  CHECK_FALSE(result.top_is_best);
  CHECK_FALSE(result.best_loss);
  CHECK(result.after.at(0).split == "general");
  CHECK((read_text(out / "adapter_model.safetensors") ==
         read_text(train::checkpoint_path(out.path(), 12) / "adapter_model.safetensors")));
}

TEST_CASE("early stopping ends after so many evaluations without gain", "[unit]") {
  ToyOptions shape;
  shape.uphill = true;
  train::TrainOptions options = toy_training();
  options.early_stopping = 2;
  TempDir out;
  Toy toy(shape);
  Recorder recorder;
  const auto result = run_toy(toy, options, out.path(), recorder);
  CHECK(result.stop == train::TrainResult::Stop::kEarly);
  CHECK(result.steps == 6);
  CHECK(result.best_step == 0);

  shape.validation = false;
  Toy blind(shape);
  TempDir other;
  CHECK(contains(message_of<ConfigError>([&] { run_toy(blind, options, other.path(), recorder); }), "`val-data`"));

  options.early_stopping = 3;  // of a run of three evaluations
  options.eval_every = 4;
  Toy short_run;
  TempDir third;
  Recorder told;
  run_toy(short_run, options, third.path(), told);
  REQUIRE(told.notes.size() == 1);
  CHECK(contains(told.notes[0], "`early-stopping` 3 never ends this run before its last step: 3 evaluations come"));
}

TEST_CASE("a loss that is not finite stops the run, names the batch and saves nothing", "[unit]") {
  ToyOptions shape;
  shape.nan_at = 4;
  TempDir out;
  Toy toy(shape);
  Recorder recorder;
  const std::string message = message_of<DataError>([&] { run_toy(toy, toy_training(), out.path(), recorder); });
  INFO(message);
  CHECK(contains(message, "at step 5 of 12"));
  CHECK(contains(message, "toy batch 4"));
  CHECK(recorder.steps.size() == 4);
  CHECK(train::list_checkpoints(out.path()).back().first == 4);
  CHECK_FALSE(fs::exists(out / "adapter_model.safetensors"));
  CHECK(toy.weight.isfinite().all().item<bool>());
}

TEST_CASE("parameters that are no longer finite are not saved", "[unit]") {
  TempDir out;
  Toy toy;
  Recorder recorder;
  recorder.after_step = [&](std::int64_t step) {
    torch::NoGradGuard no_grad;
    if (step == 4) toy.weight[0][0] = INFINITY;
  };
  CHECK(contains(message_of<DataError>([&] { run_toy(toy, toy_training(), out.path(), recorder); }), "not finite"));
  CHECK(train::list_checkpoints(out.path()).back().first < 4);
}

TEST_CASE("a signal drops the partial step, saves the last whole one, and the run goes on as if nothing had been",
          "[unit]") {
  keep_files_in_memory();
  TempDir whole;
  Toy first;
  Recorder recorder;
  run_toy(first, toy_training(), whole.path(), recorder);
  for (std::int64_t at_step = 0; at_step < 12; ++at_step) {
    for (std::int64_t at_micro : {0, 2}) {
      TempDir out;
      std::atomic<int> stop{0};
      Toy toy;
      toy.on_forward = [&](std::int64_t step, std::int64_t micro) {
        if (step == at_step && micro == at_micro) stop = 15;
      };
      const auto result = run_toy(toy, toy_training(), out.path(), recorder, &stop);
      REQUIRE(result.stop == train::TrainResult::Stop::kSignal);
      CHECK(result.signal == 15);
      CHECK(result.steps == at_step);
      CHECK(train::list_checkpoints(out.path()).back().first == at_step);
      Toy again;
      run_toy(again, toy_training(), out.path(), recorder, nullptr, true);
      CHECK((read_text(out / "adapter_model.safetensors") == read_text(whole / "adapter_model.safetensors")));
      CHECK((metrics_without_times(out.path()) == metrics_without_times(whole.path())));
    }
  }
}
