// Every objective over text, and every kind of adapter, on the tests' own device: the files of a short run are those of
// the CPU's composite twins to the byte.
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "device/device.h"
#include "lowrank/eval/compression.h"
#include "lowrank/kernels/runtime.h"
#include "lowrank/models/load_classifier.h"
#include "lowrank/train/classification.h"
#include "lowrank/train/dpo.h"
#include "lowrank/train/ppo.h"
#include "lowrank/train/reward_model.h"
#include "train/same_bytes.h"
#include "train/tiny_model.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

/// Ids as letters: id 3 is 'D'.
class LetterTokenizer : public data::Tokenizer {
 public:
  std::vector<data::TokenId> encode(std::string_view text, bool) const override {
    std::vector<data::TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<data::TokenId>(c - 'A'));
    return ids;
  }
  std::string decode(std::span<const data::TokenId> ids, bool) const override {
    std::string text;
    for (const data::TokenId id : ids) text += id_to_token(id);
    return text;
  }
  std::optional<data::TokenId> token_to_id(std::string_view) const override { return std::nullopt; }
  std::string id_to_token(data::TokenId id) const override { return std::string(1, static_cast<char>('A' + id % 58)); }
  bool is_special(data::TokenId) const override { return false; }
  data::TokenId size() const override { return 128; }
};

/// What an objective is made of; it does not move.
struct Parts {
  explicit Parts(at::Device device, bool trainable = false, const std::string& golden = "llama") {
    const fs::path folder = golden_dir() / "models" / golden;
    model.decoder = models::load_decoder(models::read_config(folder), formats::WeightFiles::open(folder), at::kFloat,
                                         trainable, nullptr, device);
    REQUIRE(model.decoder->device() == device);
  }
  lora::Adapter& attach(const lora::SlotTable& table, lora::LoraConfig config,
                        const std::string& name = lora::kDefaultAdapter) {
    config.r = 4;
    config.lora_alpha = 8;
    adapters.push_back(std::make_unique<lora::Adapter>(lora::attach(table, config, 9, name)));
    return *adapters.back();
  }
  template <typename Of>
  void common(Of& parts) const {
    parts.decoder = model.decoder;
    parts.plan.batch_size = 2;
    parts.plan.max_steps = 3;
  }

  models::LoadedModel model;
  LetterTokenizer tokenizer;
  std::vector<std::unique_ptr<lora::Adapter>> adapters;
  std::unique_ptr<train::Objective> objective;
};

using Make = std::function<std::unique_ptr<Parts>(at::Device)>;

Results run(const Make& make, at::Device device) {
  TempDir out;
  Recorder recorder;
  const std::unique_ptr<Parts> parts = make(device);
  train::TrainOptions options = tiny_training();
  options.eval_every = options.save_every = 2;
  train::Trainer(*parts->objective, options, out.path(), {}).run(recorder);
  Results files;
  for (const auto& entry : fs::recursive_directory_iterator(out.path())) {
    const std::string name = fs::relative(entry.path(), out.path()).string();
    if (entry.is_regular_file() && name.ends_with(".safetensors")) files[name] = read_text(entry.path());
  }
  REQUIRE(files.size() >= 2);
  files["metrics"] = metrics_without_times(out.path());
  return files;
}

void check_same(const Make& make) {
  const kernels::RuntimeScope composite({.mode = kernels::Mode::kComposite});
  CHECK(differing(run(make, test_device::device()), run(make, at::kCPU)) == "");
}

Make causal_lm(const lora::LoraConfig& config, const std::string& golden = "llama") {
  return [config, golden](at::Device device) {
    auto parts = std::make_unique<Parts>(device, /*trainable=*/false, golden);
    train::CausalLm::Parts of;
    parts->common(of);
    of.adapter = &parts->attach(parts->model.decoder->slot_table(), config);
    of.train = tiny_data(8, 1);
    const auto vocabulary = static_cast<data::TokenId>(parts->model.decoder->config().vocab_size);
    for (data::Example& example : of.train.examples.own()) {
      for (data::TokenId& id : example.ids) id %= vocabulary;
    }
    of.neftune = 5;
    of.label_smoothing = 0.1;
    parts->objective = std::make_unique<train::CausalLm>(std::move(of));
    return parts;
  };
}

train::Classification::Set classes(std::uint32_t rows, std::uint64_t seed) {
  train::Classification::Set set;
  set.texts = tiny_data(rows, seed);
  for (const data::Example& example : set.texts.examples) set.classes.push_back(example.ids.back() % 3);
  return set;
}

}  // namespace

TEST_CASE("adapters of every kind train on a device", "[unit]") {
  lora::LoraConfig pissa, olora, orthogonal, whole, biases;
  pissa.init_lora_weights = "pissa";
  olora.init_lora_weights = "olora";
  orthogonal.init_lora_weights = "orthogonal";
  whole.target_modules = std::vector<std::string>{"q_proj", "embed_tokens", "lm_head"};
  whole.modules_to_save = {"norm"};
  biases.bias = "all";
  biases.use_rslora = true;
  for (const auto& [name, config] : std::vector<std::pair<std::string, lora::LoraConfig>>{
           {"pissa", pissa}, {"olora", olora}, {"orthogonal", orthogonal}, {"whole", whole}}) {
    INFO(name);
    check_same(causal_lm(config));
  }
  check_same(causal_lm(biases, "qwen2"));
}

TEST_CASE("every family trains on a device", "[unit]") {
  for (const char* golden :
       {"gpt2", "gemma2", "phi3", "mistral", "qwen3", "llama-yarn", "llama-dynamic", "qwen3_5", "lfm2"}) {
    INFO(golden);
    check_same(causal_lm({}, golden));
  }
}

TEST_CASE("directions of an adapter weigh on a device what they weigh on the CPU", "[unit]") {
  const kernels::RuntimeScope composite({.mode = kernels::Mode::kComposite});
  std::vector<std::vector<double>> sizes;
  for (const at::Device device : {test_device::device(), at::Device(at::kCPU)}) {
    Parts parts(device);
    lora::LoraConfig config;
    config.init_lora_weights = "orthogonal";  // B is not zero
    lora::Adapter& adapter = parts.attach(parts.model.decoder->slot_table(), config);
    sizes.emplace_back();
    for (const lora::RankTerms& terms : eval::terms_by_divergence(*parts.model.decoder, adapter, tiny_data(6, 1), 7)) {
      for (std::int64_t i = 0; i < terms.count(); ++i) sizes.back().push_back(terms.size(i));
    }
    sizes.back().push_back(eval::divergence(*parts.model.decoder, adapter, nullptr, tiny_data(6, 1)).mean);
  }
  CHECK(sizes[0].size() > 4);
  CHECK(sizes[0] == sizes[1]);
}

TEST_CASE("all weights of a model, stored or drawn, train on a device", "[unit]") {
  for (const bool drawn : {false, true}) {
    check_same([drawn](at::Device device) {
      auto parts = std::make_unique<Parts>(device, /*trainable=*/true);
      if (drawn) parts->model.decoder = models::random_decoder(tiny_config(), 5, /*trainable=*/true, device);
      train::CausalLm::Parts of;
      parts->common(of);
      of.tokenizer = &parts->tokenizer;
      of.train = tiny_data(8, 1);
      of.recompute = true;
      parts->objective = std::make_unique<train::CausalLm>(std::move(of));
      return parts;
    });
  }
}

TEST_CASE("DPO, reward models and classifiers train on a device", "[unit]") {
  lora::LoraConfig config;
  config.lora_dropout = 0.1;
  check_same([&](at::Device device) {
    auto parts = std::make_unique<Parts>(device);
    train::Dpo::Parts of;
    parts->common(of);
    of.adapter = &parts->attach(parts->model.decoder->slot_table(), config);
    of.train = tiny_data(8, 1);
    of.evaluation.emplace_back("validation", tiny_data(4, 2));
    parts->objective = std::make_unique<train::Dpo>(std::move(of));
    return parts;
  });
  lora::LoraConfig scored = config;
  scored.task_type = "SEQ_CLS";
  scored.modules_to_save = {"score"};
  check_same([&](at::Device device) {
    auto parts = std::make_unique<Parts>(device);
    const models::SequenceClassifier classifier = models::new_classifier(parts->model, 1, 11);
    train::RewardModel::Parts of{classifier};
    parts->common(of);
    of.adapter = &parts->attach(classifier.slot_table(), scored);
    of.train = tiny_data(8, 1);
    of.evaluation.emplace_back("validation", tiny_data(4, 2));
    parts->objective = std::make_unique<train::RewardModel>(std::move(of));
    return parts;
  });
  check_same([&](at::Device device) {
    auto parts = std::make_unique<Parts>(device);
    const models::SequenceClassifier classifier = models::new_classifier(parts->model, 3, 11);
    train::Classification::Parts of{classifier};
    parts->common(of);
    of.adapter = &parts->attach(classifier.slot_table(), scored);
    of.labels = {"a", "b", "c"};
    of.train = classes(8, 1);
    of.evaluation.emplace_back("validation", classes(5, 2));
    parts->objective = std::make_unique<train::Classification>(std::move(of));
    return parts;
  });
}

TEST_CASE("PPO rolls out and trains on a device", "[unit]") {
  check_same([](at::Device device) {
    auto parts = std::make_unique<Parts>(device);
    const lora::SlotTable table = parts->model.decoder->slot_table();
    train::Ppo::Parts of;
    parts->common(of);
    of.policy = &parts->attach(table, {});
    of.value = &parts->attach(table, {}, "value");
    of.tokenizer = &parts->tokenizer;
    for (int i = 0; i < 8; ++i) {
      data::Prompt prompt;
      prompt.text = {static_cast<char>('D' + i), static_cast<char>('F' + 2 * i)};
      prompt.ids = parts->tokenizer.encode(prompt.text, true);
      prompt.where = "prompt";
      (i < 6 ? of.prompts : of.validation).push_back(prompt);
    }
    of.plan.epochs = 1;
    of.plan.max_steps.reset();
    of.max_steps = 3;
    of.mini_batches = 2;
    of.response_length = 6;
    of.reward = [](const std::vector<train::Answer>& answers) {
      std::vector<double> scores;
      for (const train::Answer& answer : answers) {
        double score = 0;
        for (const char c : answer.response) score += c < 'X' ? 1 : -1;
        scores.push_back(score / 6);
      }
      return scores;
    };
    parts->objective = std::make_unique<train::Ppo>(std::move(of));
    return parts;
  });
}
