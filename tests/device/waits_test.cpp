// While a step's micro-batches run, the program asks a device for nothing: it is ahead of it with the next one. What it reads, losses
// and the gradient's norm, it reads when all of them are under way.
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "device/device.h"
#include "device/waits.h"
#include "lowrank/kernels/runtime.h"
#include "lowrank/models/load.h"
#include "lowrank/train/causal_lm.h"
#include "train/same_bytes.h"
#include "train/tiny_model.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

/// What was waited for from the first micro-batch of each step to the last one's beginning.
struct Watch : Recorder {
  std::vector<std::string> within;
  int steps_seen = 0;
  void on_micro(std::int64_t, std::int64_t micro, std::int64_t of) override {
    const std::vector<std::string> all = test_device::waits();
    if (micro == 0) before_ = all.size();
    if (micro != of - 1) return;
    within.insert(within.end(), all.begin() + static_cast<std::ptrdiff_t>(before_), all.end());
    ++steps_seen;
  }

 private:
  std::size_t before_ = 0;
};

struct Waiting {
  std::string golden = "llama";
  at::ScalarType dtype = at::kFloat;
  bool dora = false, recompute = false;
  double dropout = 0, neftune = 0, smoothing = 0;
};

std::vector<std::string> waited_for(const Waiting& c) {
  const fs::path folder = golden_dir() / "models" / c.golden;
  const models::Decoder decoder = models::load_decoder(models::read_config(folder), formats::WeightFiles::open(folder), c.dtype, false,
                                                       nullptr, test_device::device());
  lora::LoraConfig config;
  config.r = 4;
  config.lora_dropout = c.dropout;
  config.use_dora = c.dora;
  lora::Adapter adapter = lora::attach(decoder->slot_table(), config, 9);
  train::CausalLm::Parts parts;
  parts.decoder = decoder;
  parts.adapter = &adapter;
  parts.train = tiny_data(8, 1);
  const auto vocabulary = static_cast<data::TokenId>(decoder->config().vocab_size);
  for (data::Example& example : parts.train.examples.own()) {
    for (data::TokenId& id : example.ids) id %= vocabulary;
  }
  parts.plan.batch_size = 1;
  parts.plan.grad_accum = 4;
  parts.plan.max_steps = 2;
  parts.recompute = c.recompute;
  parts.neftune = c.neftune;
  parts.label_smoothing = c.smoothing;
  train::CausalLm objective(std::move(parts));
  TempDir out;
  Watch watch;
  train::Trainer(objective, tiny_training(), out.path(), {}).run(watch);
  CHECK(watch.steps_seen == 2);
  std::sort(watch.within.begin(), watch.within.end());
  return watch.within;
}

}  // namespace

TEST_CASE("the program waits for a device when all of a step is under way, not before", "[unit]") {
  const std::vector<Waiting> cases = {{.dropout = 0.1, .neftune = 5, .smoothing = 0.1},
                                      {.dtype = at::kBFloat16, .recompute = true},
                                      {.dora = true},
                                      {.golden = "gpt2"},
                                      {.golden = "gemma2"},
                                      {.golden = "qwen3_5"},
                                      {.golden = "lfm2"}};
  for (const bool twins : {false, true}) {
    const kernels::RuntimeScope mode({.mode = twins ? kernels::Mode::kComposite : kernels::Mode::kFused});
    for (const Waiting& c : cases) {
      INFO(c.golden << ", " << c10::toString(c.dtype) << (c.dora ? ", DoRA" : "") << (twins ? ", composite" : ""));
      CHECK(waited_for(c) == std::vector<std::string>{});
    }
  }
}
