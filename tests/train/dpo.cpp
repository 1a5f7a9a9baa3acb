// DPO against TRL's own trainer (tests/parity/make_dpo_goldens.py), and as every other run: resumed, cut, on other
// threads.
#include "lowrank/train/dpo.h"

#include "golden_gradients.h"
#include "golden_pairs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/train/flat_parameters.h"
#include "message.h"
#include "same_bytes.h"
#include "tiny_model.h"
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

/// Rows of unequal lengths as pairs: neighbours of tiny_data.
data::Dataset tiny_pairs(std::uint32_t pairs, std::uint64_t seed) { return tiny_data(2 * pairs, seed); }

struct TinyDpo {
  explicit TinyDpo(bool recompute = false, int batch_size = 3, int grad_accum = 1, double dropout = 0.1) {
    decoder = models::random_decoder(tiny_config(), 5, false);
    lora::LoraConfig config;
    config.r = 5;
    config.lora_alpha = 10;
    config.lora_dropout = dropout;
    adapter = lora::attach(decoder->slot_table(), config, 9);
    train::Dpo::Parts parts;
    parts.decoder = decoder;
    parts.adapter = &*adapter;
    parts.train = tiny_pairs(11, 1);
    parts.evaluation.emplace_back("validation", tiny_pairs(5, 2));
    parts.plan.batch_size = batch_size;
    parts.plan.grad_accum = grad_accum;
    parts.plan.max_steps = 14;
    parts.recompute = recompute;
    objective = std::make_unique<train::Dpo>(std::move(parts));
  }
  models::Decoder decoder{nullptr};
  std::optional<lora::Adapter> adapter;
  std::unique_ptr<train::Dpo> objective;
};

}  // namespace

TEST_CASE("losses, rewards and gradients of sigmoid, hinge and IPO are those of TRL's DPOTrainer", "[parity]") {
  const fs::path folder = golden_dir() / "models" / "llama", goldens = golden_dir() / "train" / "dpo";
  const core::Json golden = core::read_json(goldens / "pairs.json");
  const auto weights = formats::WeightFiles::open(folder);
  for (const char* name : {"sigmoid", "hinge", "ipo"}) {
    INFO(name);
    const core::Json& expected = golden["losses"][name];
    train::Dpo::Parts parts;
    parts.decoder = models::load_decoder(models::read_config(folder), weights, at::kFloat);
    lora::Adapter adapter = lora::load_peft(parts.decoder->slot_table(), folder / "adapter");
    parts.adapter = &adapter;
    parts.train = golden_pairs(golden);
    parts.evaluation.emplace_back("validation", golden_pairs(golden));
    parts.plan.batch_size = 3;
    parts.plan.grad_accum = 2;
    parts.plan.shuffle = false;
    parts.loss = train::parse_dpo_loss(name);
    parts.beta = expected["beta"].get<double>();
    train::Dpo objective(std::move(parts));
    train::FlatParameters flat(objective.parameters());
    double loss = 0;
    std::int64_t count = 0;
    train::Metrics metrics;
    REQUIRE(objective.micro_batches(0) == 2);
    for (std::int64_t micro = 0; micro < 2; ++micro) {
      const train::MicroLoss part = objective.forward(0, micro);
      part.loss_sum.backward();
      loss += part.value;
      count += part.count;
      for (const auto& [metric, sum] : part.metrics) metrics[metric] += sum;
    }
    REQUIRE(count == 6);
    CHECK(loss / 6 == Approx(expected["loss"].get<double>()).epsilon(1e-4));
    REQUIRE(metrics.size() == expected["metrics"].size());
    for (const auto& [metric, value] : expected["metrics"].items()) {
      INFO(metric);
      CHECK(metrics.at(metric) / 6 == Approx(value.get<double>()).epsilon(1e-4));
    }
    check_gradients(flat, goldens / (std::string(name) + ".safetensors"), 6);
    const auto evaluation = objective.evaluate();
    REQUIRE(evaluation.size() == 1);
    CHECK(evaluation[0].loss == Approx(expected["loss"].get<double>()).epsilon(1e-4));
    CHECK(evaluation[0].metrics.at("rewards/accuracies_low") < 1.0 / 6);
    CHECK(evaluation[0].metrics.at("rewards/accuracies_high") > 1.0 / 6);
  }
}

TEST_CASE("the routers' loss stands beside DPO's as in TRL, in a gradient of its own weight", "[parity]") {
  const fs::path folder = golden_dir() / "models" / "qwen3-moe", goldens = golden_dir() / "train" / "dpo";
  const core::Json golden = core::read_json(goldens / "experts.json");
  const auto weights = formats::WeightFiles::open(folder);
  for (const bool recompute : {false, true}) {
    train::Dpo::Parts parts;
    parts.decoder = models::load_decoder(models::read_config(folder), weights, at::kFloat);
    lora::Adapter adapter = lora::load_peft(parts.decoder->slot_table(), folder / "adapter");
    parts.adapter = &adapter;
    parts.train = golden_pairs(golden);
    parts.plan.batch_size = 6;
    parts.plan.shuffle = false;
    parts.beta = golden["beta"].get<double>();
    parts.router_aux_loss = golden["router_aux_loss"].get<double>();
    parts.recompute = recompute;
    const double weight = parts.router_aux_loss;
    train::Dpo objective(std::move(parts));
    train::FlatParameters flat(objective.parameters());
    REQUIRE(objective.micro_batches(0) == 1);
    const train::MicroLoss loss = objective.forward(0, 0);
    loss.loss_sum.backward();
    REQUIRE(loss.count == 6);
    const double balance = loss.metrics.at("router_aux_loss") / 6;
    CHECK(loss.value / 6 + weight * balance == Approx(golden["loss"].get<double>()).epsilon(1e-5));
    for (const auto& [metric, value] : golden["metrics"].items()) {
      INFO(metric);
      CHECK(loss.metrics.at(metric) / 6 == Approx(value.get<double>()).epsilon(1e-4));
    }
    check_gradients(flat, goldens / "experts.safetensors", 6);
  }
}

TEST_CASE("the slopes of a pair's loss are its differences, on both sides of every bend", "[unit]") {
  using train::DpoLoss;
  for (const DpoLoss kind : {DpoLoss::kSigmoid, DpoLoss::kHinge, DpoLoss::kIpo}) {
    for (const double margin : {-900.0, -30.0, -2.0, 0.0, 3.0, 25.0, 900.0}) {
      train::PairLogps logps = {-40 + margin, -35, -38, -36, 7, 4};
      const train::PairLoss at = train::pair_loss(logps, kind, 0.1);
      const double h = 1e-4;
      const auto difference = [&](double train::PairLogps::*which) {
        train::PairLogps up = logps, down = logps;
        up.*which += h;
        down.*which -= h;
        return (train::pair_loss(up, kind, 0.1).loss - train::pair_loss(down, kind, 0.1).loss) / (2 * h);
      };
      INFO("margin " << margin);
      CHECK(std::isfinite(at.loss));
      CHECK(at.chosen_slope == Approx(difference(&train::PairLogps::chosen)).margin(1e-7));
      CHECK(at.rejected_slope == Approx(difference(&train::PairLogps::rejected)).margin(1e-7));
      CHECK(at.chosen_reward - at.rejected_reward == Approx(0.1 * (margin - 3)));
    }
  }
  CHECK(contains(message_of<ConfigError>([] { train::parse_dpo_loss("sigmiod"); }), "sigmoid"));
}

TEST_CASE("the reference is the base where the adapter is new, and the starting adapter where one is given", "[unit]") {
  TinyDpo fresh;
  const auto evaluation = fresh.objective->evaluate();
  CHECK(evaluation.at(0).loss == Approx(std::log(2.0)));
  CHECK(evaluation[0].metrics.at("rewards/margins") == 0);
  CHECK(evaluation[0].metrics.at("rewards/accuracies") == 0);

  Tiny other({});  // an adapter with B != 0
  for (const bool start : {false, true}) {
    train::Dpo::Parts parts;
    parts.decoder = other.decoder;
    parts.adapter = &*other.adapter;
    parts.train = tiny_pairs(4, 1);
    parts.evaluation.emplace_back("validation", tiny_pairs(4, 1));
    parts.reference_is_start = start;
    train::Dpo objective(std::move(parts));
    CHECK((objective.evaluate()[0].metrics.at("rewards/margins") == 0) == start);
  }
}

TEST_CASE("DPO resumes to the same bytes, and neither threads nor recomputation change them", "[unit]") {
  check_same_bytes<TinyDpo>();
}

TEST_CASE("DPO learns: margins of the training pairs rise, and the rows of metrics.jsonl say so", "[unit]") {
  TempDir out;
  Recorder recorder;
  TinyDpo tiny(false, 4, 1, 0);
  train::Trainer(*tiny.objective, tiny_training(), out.path(), {}).run(recorder);
  CHECK(recorder.steps.back().metrics.at("rewards/margins") >
        recorder.steps.front().metrics.at("rewards/margins") + 0.1);
  CHECK(recorder.steps.back().loss < recorder.steps.front().loss);
  int steps = 0, evaluations = 0;
  std::istringstream in(read_text(out / "metrics.jsonl"));
  for (std::string line; std::getline(in, line);) {
    const core::Json row = core::Json::parse(line);
    steps += row.contains("rewards/accuracies") && row.contains("logps/rejected") ? 1 : 0;
    evaluations += row.contains("eval_rewards/accuracies_low") ? 1 : 0;
  }
  CHECK(steps == 14);
  CHECK(evaluations == 5);
}

TEST_CASE("beta must be more than 0", "[unit]") {
  Tiny tiny({});
  train::Dpo::Parts parts;
  parts.decoder = tiny.decoder;
  parts.adapter = &*tiny.adapter;
  parts.train = tiny_pairs(4, 1);
  parts.beta = 0;
  CHECK(contains(message_of<ConfigError>([&] { train::Dpo(std::move(parts)); }), "`beta`"));
}
