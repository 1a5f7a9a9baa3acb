// The loss curves that transformers, peft and torch's AdamW made (tests/parity/make_goldens.py), through the trainer.
#include <fmt/format.h>

#include "lowrank/core/json.h"
#include "lowrank/models/load.h"
#include "lowrank/train/causal_lm.h"
#include "tiny_model.h"
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;

TEST_CASE("20 steps from PEFT's adapter follow PEFT's loss curve", "[parity]") {
  const fs::path root = golden_dir() / "models";
  int models = 0;
  for (const auto& entry : fs::directory_iterator(root)) {
    const fs::path folder = entry.path();
    if (!fs::exists(folder / "loss_curve.json")) continue;
    ++models;
    const core::Json curve = core::read_json(folder / "loss_curve.json");
    const auto weights = formats::WeightFiles::open(folder);
    train::CausalLm::Parts parts;
    parts.decoder = models::load_decoder(models::read_config(folder), weights, at::kFloat);
    lora::Adapter adapter = lora::load_peft(parts.decoder->slot_table(), folder / "adapter");
    parts.adapter = &adapter;
    for (const auto& ids : curve["documents"]) {
      data::Example example;
      example.ids = ids.get<std::vector<data::TokenId>>();
      example.learned.assign(example.ids.size(), 1);
      example.document = static_cast<std::uint32_t>(parts.train.documents.size());
      parts.train.documents.push_back({fmt::format("document {}", example.document)});
      parts.train.examples.push_back(std::move(example));
    }
    parts.plan.batch_size = curve["batch_size"].get<int>();
    parts.plan.shuffle = false;
    parts.plan.max_steps = 20;
    train::CausalLm objective(std::move(parts));
    train::TrainOptions options;
    options.lr = curve["lr"].get<double>();
    options.schedule = train::Schedule::kConstant;
    options.warmup = options.clip = 0;
    options.save_every = 20;
    keep_files_in_memory();
    TempDir out;
    Recorder recorder;
    train::Trainer(objective, options, out.path(), {}).run(recorder);
    REQUIRE(recorder.steps.size() == 20);
    double worst = 0;
    for (std::size_t i = 0; i < 20; ++i) {
      const double expected = curve["losses"][i].get<double>();
      worst = std::max(worst, std::abs(recorder.steps[i].loss / expected - 1));
    }
    INFO(folder.filename().string() << ": largest relative difference " << worst);
    CHECK(worst <= 1e-5);
  }
  CHECK(models >= 4);
}

namespace {

std::vector<double> losses_of(Tiny& model, double lora_plus_ratio) {
  train::TrainOptions options;
  options.lr = 1e-2;
  options.lora_plus_ratio = lora_plus_ratio;
  options.schedule = train::Schedule::kConstant;
  options.warmup = options.clip = options.weight_decay = 0;  // which depend on how large A and B are
  options.save_every = 20;
  TempDir out;
  Recorder recorder;
  train::Trainer(*model.objective, options, out.path(), {}).run(recorder);
  std::vector<double> losses;
  for (const auto& step : recorder.steps) losses.push_back(step.loss);
  return losses;
}

double farthest(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] / b[i] - 1));
  return worst;
}

}  // namespace

// AdamW's steps do not depend on a gradient's scale: with c times the scale, B and its rate are c times as small, and s B A is what it was.
TEST_CASE("alpha, B's start and B's rate that make the same products make the same run", "[unit]") {
  keep_files_in_memory();
  Tiny plain({});
  const std::vector<double> expected = losses_of(plain, 1);
  REQUIRE(expected.size() == 20);
  CHECK(expected.back() < expected.front() - 0.05);
  for (const double c : {4.0, 0.25, 3.0}) {
    INFO("alpha " << c << " times as large");
    Tiny scaled({.alpha = c * 10});
    {
      const torch::NoGradGuard no_grad;
      std::size_t found = 0;
      for (auto& [name, tensor] : scaled.adapter->parameters())
        if (name.find("lora_B") != name.npos) tensor.div_(c), ++found;
      REQUIRE(found > 0);
    }
    CHECK(farthest(losses_of(scaled, 1 / c), expected) <= 1e-5);
    Tiny apart({.alpha = c * 10});
    CHECK(farthest(losses_of(apart, 1 / c), expected) > 1e-3);  // B as it was
  }
  Tiny rslora({.alpha = 10 / std::sqrt(5.0), .rslora = true});  // alpha / sqrt(r) for alpha / r
  CHECK(farthest(losses_of(rslora, 1), expected) <= 1e-5);
}
