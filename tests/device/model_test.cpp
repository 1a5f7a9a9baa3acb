// A whole run on the tests' own device, whose memory the program cannot touch: loading, LoRA's training, evaluation,
// generation, saving and resuming, through the composite twins, with the very numbers of the CPU's twins.
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "device/device.h"
#include "lowrank/eval/compare.h"
#include "lowrank/eval/perplexity.h"
#include "lowrank/kernels/runtime.h"
#include "lowrank/models/beam_search.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/router_balance.h"
#include "lowrank/models/load.h"
#include "lowrank/models/next_logits.h"
#include "lowrank/train/causal_lm.h"
#include "train/same_bytes.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

struct Case {
  std::string name;
  models::DTypeChoice dtype = models::DTypeChoice::kFloat32;
  bool dora = false, recompute = false, penalties = false;
  kernels::BaseForm form = kernels::BaseForm::kAsStored;
};

data::Dataset texts(const data::Tokenizer& tokenizer, int first, int count) {
  const std::vector<std::string> all = {"The fresco was painted on wet plaster.",
                                        "The panel was painted in tempera on poplar.",
                                        "The canvas was painted in oil over a dark ground.",
                                        "A drawing in red chalk, touched with white, was made for it.",
                                        "Nobody knows who gilded the frame.",
                                        "The altarpiece came to the town in 1504."};
  const auto begin = all.begin() + first;
  return data::from_texts({begin, begin + count}, tokenizer, {.seq_len = 24});
}

/// The small model of the examples on `device`, with an adapter and an objective of five steps.
struct Run {
  Run(const Case& c, at::Device device)
      : model(models::load((source_dir() / "examples" / "base").string(), {.dtype = c.dtype, .form = c.form, .device = device})) {
    lora::LoraConfig config;
    config.r = 4;
    config.lora_alpha = 8;
    config.lora_dropout = 0.1;
    config.use_dora = c.dora;
    adapter = lora::attach(model.decoder->slot_table(), config);
    train::CausalLm::Parts parts;
    parts.decoder = model.decoder;
    parts.adapter = &*adapter;
    parts.weights = &model.weights;
    parts.train = texts(*model.tokenizer, 0, 4);
    parts.evaluation.emplace_back("validation", texts(*model.tokenizer, 4, 2));
    parts.plan.batch_size = 2;
    parts.plan.max_steps = 5;
    parts.recompute = c.recompute;
    objective = std::make_unique<train::CausalLm>(std::move(parts));
  }

  train::TrainResult train(const Case& c, const fs::path& out, Recorder& recorder, bool resume = false) {
    train::TrainOptions options = tiny_training();
    options.eval_every = 2;
    options.save_every = 2;
    if (c.penalties) {
      options.l1 = 1e-3;
      options.l2 = 1e-2;
      options.delta.l2 = 1e-3;
      options.max_delta_norm = 0.5;
      options.ema = 0.9;
    }
    return train::Trainer(*objective, options, out, {}).run(recorder, resume);
  }

  models::LoadedModel model;
  std::optional<lora::Adapter> adapter;
  std::unique_ptr<train::CausalLm> objective;
};

/// Everything that a run says in numbers and leaves in files.
struct Outcome {
  Results files;
  std::vector<double> numbers;
  std::vector<std::string> texts;
};

void note(Outcome& outcome, const models::Generated& generated) {
  outcome.texts.push_back(generated.text);
  outcome.numbers.insert(outcome.numbers.end(), generated.log_probs.begin(), generated.log_probs.end());
}

Outcome whole_run(const Case& c, at::Device device) {
  TempDir out;
  Recorder recorder;
  Run run(c, device);
  const train::TrainResult result = run.train(c, out.path(), recorder);
  Outcome outcome;
  outcome.files = results_of(out.path());
  for (const train::StepMetrics& step : recorder.steps) {
    outcome.numbers.insert(outcome.numbers.end(), {step.loss, step.grad_norm, step.penalty});
  }
  for (const train::EvalResult& split : result.after) outcome.numbers.push_back(split.loss);
  models::DecoderImpl& decoder = *run.model.decoder;
  const data::Tokenizer& tokenizer = *run.model.tokenizer;
  const data::Dataset held_out = texts(tokenizer, 3, 3);
  for (const double loss : eval::perplexity(decoder, held_out, 32, /*keep_per_token=*/true).per_token) {
    outcome.numbers.push_back(loss);
  }
  const auto compared = eval::compare({{"base", &decoder, nullptr}, {"tuned", &decoder, &*run.adapter}}, held_out,
                                      eval::units_of(held_out));
  for (const auto& units : compared) {
    for (const eval::UnitLoss& unit : units) outcome.numbers.insert(outcome.numbers.end(), {unit.nll, unit.kl});
  }
  run.adapter->set_enabled(true);
  models::GenerateOptions options;
  options.max_new_tokens = 8;
  options.log_probs = true;
  const std::vector<data::TokenId> prompt = tokenizer.encode("The panel");
  note(outcome, models::generate(decoder, tokenizer, prompt, options));
  const std::vector<models::BatchPrompt> prompts = {{prompt, 0}, {tokenizer.encode("A drawing in red"), 1}};
  for (const auto& found : models::beam_search(decoder, tokenizer, prompts, options, {.beams = 2}))
    note(outcome, found);
  options.temperature = 0.8;
  for (const auto& found : models::generate_batch(decoder, tokenizer, prompts, options)) note(outcome, found);
  return outcome;
}

}  // namespace

TEST_CASE("a model trains, evaluates, generates, saves and resumes on a device, with the CPU's numbers", "[unit]") {
  const kernels::RuntimeScope composite({.mode = kernels::Mode::kComposite});
  const std::vector<Case> cases = {
      {.name = "fp32", .penalties = true},
      {.name = "bf16, recomputed", .dtype = models::DTypeChoice::kBFloat16, .recompute = true},
      {.name = "DoRA", .dora = true},
      {.name = "NF4", .form = kernels::BaseForm::kNf4},
      {.name = "int8, recomputed", .recompute = true, .form = kernels::BaseForm::kInt8}};
  for (const Case& c : cases) {
    INFO(c.name);
    const Outcome there = whole_run(c, test_device::device());
    const Outcome here = whole_run(c, at::kCPU);
    CHECK(differing(there.files, here.files) == "");
    CHECK(there.texts == here.texts);
    REQUIRE(there.numbers.size() == here.numbers.size());
    for (std::size_t i = 0; i < here.numbers.size(); ++i) {
      INFO(i);
      CHECK(there.numbers[i] == here.numbers[i]);
    }
    check_resumes([&](const fs::path& out, Recorder& recorder,
                      bool resume) { Run(c, test_device::device()).train(c, out, recorder, resume); },
                  {1, 3}, there.files);
  }
}

namespace {

std::vector<data::Example> two_texts() {
  std::vector<data::Example> texts(2);
  for (int i = 0; i < 90; ++i) {
    data::Example& text = texts[i < 70 ? 0 : 1];  // longer than a chunk of the delta rule, and short
    text.ids.push_back(3 + (7 * i * i + i) % 36);
    text.learned.push_back(1);
  }
  return texts;
}

// Losses, the routers' loss, an adapter's gradients, and logits through the cache.
std::vector<float> numbers_of(const fs::path& folder, at::Device device) {
  const auto weights = formats::WeightFiles::open(folder);
  models::Decoder decoder =
      models::load_decoder(models::read_config(folder), weights, at::kFloat, false, nullptr, device);
  const lora::Adapter adapter = lora::load_peft(decoder->slot_table(), folder / "adapter");
  std::vector<float> all;
  const auto add = [&](const at::Tensor& tensor) {
    const std::vector<float> values = kernels::to_host<float>(tensor.detach());
    all.insert(all.end(), values.begin(), values.end());
  };
  const std::vector<std::uint32_t> both = {0, 1};
  const std::vector<data::Example> texts = two_texts();
  const data::Batch batch = data::make_batch(texts, both);
  const auto balance = std::make_shared<kernels::RouterBalance>(0.5);
  const at::Tensor losses =
      decoder->token_losses(decoder->hidden(batch.ids, batch.segments, {.balance = balance}), batch.labels);
  losses.sum().backward();
  add(losses);
  all.push_back(static_cast<float>(balance->loss()));
  for (const auto& parameter : adapter.parameters()) add(parameter.tensor.grad());
  const at::NoGradGuard no_grad;
  models::KvCache cache;
  for (const std::size_t done : {20, 21, 50}) {
    add(models::next_logits(*decoder, cache, {std::span<const data::TokenId>(texts[0].ids).first(done)}));
  }
  return all;
}

}  // namespace

TEST_CASE("mixtures and hybrids have the CPU's numbers on a device: losses, gradients, the cache", "[unit]") {
  const kernels::RuntimeScope composite({.mode = kernels::Mode::kComposite});
  for (const char* name : {"qwen3-moe", "gpt-oss", "qwen3_5-moe", "gemma4-experts", "qwen3_5", "lfm2"}) {
    INFO(name);
    const fs::path folder = golden_dir() / "models" / name;
    const std::vector<float> there = numbers_of(folder, test_device::device()), here = numbers_of(folder, at::kCPU);
    REQUIRE(there.size() == here.size());
    float worst = 0, most = 0;
    for (std::size_t i = 0; i < here.size(); ++i) {
      worst = std::max(worst, std::abs(there[i] - here[i]));
      most = std::max(most, std::abs(here[i]));
    }
    CHECK(worst <= 1e-5F * most);
  }
}

TEST_CASE("every tensor of a model lies on its device", "[unit]") {
  const at::Device device = test_device::device();
  const Case c{.name = "plain"};
  TempDir out;
  Recorder recorder;
  Run there(c, device);
  CHECK(there.model.decoder->device() == device);
  for (const lora::NamedTensor& weight : there.model.decoder->named_weights()) CHECK(weight.tensor.device() == device);
  for (const lora::NamedTensor& trained : there.adapter->parameters()) CHECK(trained.tensor.device() == device);
  there.train(c, out.path(), recorder);
  for (const lora::NamedTensor& trained : there.adapter->parameters()) CHECK(trained.tensor.device() == device);
}

TEST_CASE("an adapter that a device saved loads on the CPU and on the device, and gives one loss", "[unit]") {
  const Case c{.name = "plain"};
  TempDir out;
  Recorder recorder;
  const kernels::RuntimeScope composite({.mode = kernels::Mode::kComposite});
  const double trained = Run(c, test_device::device()).train(c, out.path(), recorder).after.at(0).loss;
  for (const at::Device where : {test_device::device(), at::Device(at::kCPU)}) {
    const models::LoadedModel model = models::load((source_dir() / "examples" / "base").string(),
                                                   {.dtype = models::DTypeChoice::kFloat32, .device = where});
    const lora::Adapter adapter = lora::load_peft(model.decoder->slot_table(), out.path());
    for (const lora::NamedTensor& parameter : adapter.parameters()) CHECK(parameter.tensor.device() == where);
    CHECK(eval::perplexity(*model.decoder, texts(*model.tokenizer, 4, 2)).nll == trained);
  }
}
