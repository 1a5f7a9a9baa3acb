// Several ranks: the losses of one, the same bytes from run to run, one folder that rank 0 alone writes, one step at
// which all stop, and errors that end all.
#include <array>

#include "letter_tokenizer.h"
#include "lowrank/core/error.h"
#include "lowrank/lora/inject.h"
#include "lowrank/models/load_classifier.h"
#include "lowrank/train/classification.h"
#include "lowrank/train/dpo.h"
#include "lowrank/train/image_classification.h"
#include "lowrank/train/ppo.h"
#include "lowrank/train/reward_model.h"
#include "memory_ranks.h"
#include "message.h"
#include "same_bytes.h"
#include "tiny_model.h"
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

constexpr std::int64_t kSteps = 20;

/// An objective with what it learns on, in one place that does not move.
struct Learner {
  models::Decoder decoder{nullptr};
  std::optional<models::ResNet> network;
  std::optional<lora::Injected> injected;
  std::optional<lora::Adapter> adapter, value;
  LetterTokenizer tokenizer;
  std::unique_ptr<train::Objective> objective;
};
/// Of a rank: steps of two micro-batches over all ranks, so that each number of ranks has the same micro-batches.
using Make = std::function<void(Learner&, train::GradSync*)>;

template <typename Parts>
void deal(Parts& parts, train::GradSync* sync) {
  parts.sync = sync;
  parts.plan.batch_size = 3;
  parts.plan.grad_accum = sync != nullptr && sync->ranks() == 2 ? 1 : 2;
  parts.plan.max_steps = kSteps;
}

lora::LoraConfig config_with(double dropout) {
  lora::LoraConfig config;
  config.r = 5;
  config.lora_alpha = 10;
  config.lora_dropout = dropout;
  return config;
}

/// Of a learner with a decoder and an adapter.
train::CausalLm::Parts text_parts(Learner& l, train::GradSync* sync) {
  train::CausalLm::Parts parts;
  deal(parts, sync);
  parts.decoder = l.decoder;
  parts.adapter = &*l.adapter;
  parts.train = tiny_data(22, 1);
  parts.evaluation.emplace_back("validation", tiny_data(7, 2));
  return parts;
}

void causal_lm(Learner& l, train::GradSync* sync) {
  l.decoder = models::random_decoder(tiny_config(), 5, false);
  l.adapter = lora::attach(l.decoder->slot_table(), config_with(0.1), 9);
  train::CausalLm::Parts parts = text_parts(l, sync);
  parts.neftune = 3;
  l.objective = std::make_unique<train::CausalLm>(std::move(parts));
}

/// A mixture of experts, adapters on them and on its routers, and the routers' load-balancing loss.
void experts(Learner& l, train::GradSync* sync) {
  core::Json json = core::parse_json(models::config_json(tiny_config()), "tiny");
  json.merge_patch({{"model_type", "qwen3_moe"},
                    {"num_local_experts", 5},
                    {"num_experts_per_tok", 2},
                    {"moe_intermediate_size", 20}});
  l.decoder = models::random_decoder(models::parse_config(core::JsonView(json, "experts")), 5, false);
  lora::LoraConfig config = config_with(0);
  config.target_parameters = {"mlp.experts.gate_up_proj", "mlp.experts.down_proj", "mlp.gate.weight"};
  config.target_modules = std::vector<std::string>{"q_proj"};
  l.adapter = lora::attach(l.decoder->slot_table(), config, 9);
  train::CausalLm::Parts parts = text_parts(l, sync);
  parts.router_aux_loss = 0.2;
  l.objective = std::make_unique<train::CausalLm>(std::move(parts));
}

/// The adapter of a decoder with a score head.
models::SequenceClassifier classifier_of(Learner& l, std::int64_t labels) {
  models::LoadedModel model;
  model.decoder = models::random_decoder(tiny_config(), 5, false);
  models::SequenceClassifier classifier = models::new_classifier(model, labels, 11);
  lora::LoraConfig config = config_with(0.1);
  config.task_type = "SEQ_CLS";
  config.modules_to_save = {"score"};
  l.adapter = lora::attach(classifier.slot_table(), config, 9);
  return classifier;
}

void classification(Learner& l, train::GradSync* sync) {
  const auto set = [](std::uint32_t rows, std::uint64_t seed) {
    train::Classification::Set made{tiny_data(rows, seed), {}};
    for (const data::Example& example : made.texts.examples) made.classes.push_back(example.ids.back() % 3);
    return made;
  };
  train::Classification::Parts parts{classifier_of(l, 3)};
  deal(parts, sync);
  parts.adapter = &*l.adapter;
  parts.labels = {"a", "b", "c"};
  parts.train = set(22, 1);
  parts.evaluation.emplace_back("validation", set(9, 2));
  l.objective = std::make_unique<train::Classification>(std::move(parts));
}

void reward_model(Learner& l, train::GradSync* sync) {
  train::RewardModel::Parts parts{classifier_of(l, 1)};
  deal(parts, sync);
  parts.adapter = &*l.adapter;
  parts.train = tiny_data(22, 1);
  parts.evaluation.emplace_back("validation", tiny_data(10, 2));
  l.objective = std::make_unique<train::RewardModel>(std::move(parts));
}

void dpo(Learner& l, train::GradSync* sync) {
  l.decoder = models::random_decoder(tiny_config(), 5, false);
  l.adapter = lora::attach(l.decoder->slot_table(), config_with(0.1), 9);
  train::Dpo::Parts parts;
  deal(parts, sync);
  parts.decoder = l.decoder;
  parts.adapter = &*l.adapter;
  parts.train = tiny_data(22, 1);
  parts.evaluation.emplace_back("validation", tiny_data(10, 2));
  l.objective = std::make_unique<train::Dpo>(std::move(parts));
}

void ppo(Learner& l, train::GradSync* sync) {
  models::DecoderConfig config = tiny_config();
  config.eos_token_ids = {2};
  l.decoder = models::random_decoder(config, 5, false);
  l.adapter = lora::attach(l.decoder->slot_table(), config_with(0), 9);
  l.value = lora::attach(l.decoder->slot_table(), config_with(0), 9, "value");
  train::Ppo::Parts parts;
  deal(parts, sync);
  parts.plan.grad_accum *= 2;  // of two mini-batches
  parts.plan.max_steps.reset();
  parts.max_steps = kSteps;
  parts.plan.epochs = 10;
  parts.mini_batches = 2;
  parts.epochs = 2;
  parts.decoder = l.decoder;
  parts.policy = &*l.adapter;
  parts.value = &*l.value;
  parts.tokenizer = &l.tokenizer;
  for (int i = 0; i < 29; ++i) {
    data::Prompt prompt;
    prompt.text = {static_cast<char>('D' + i), static_cast<char>('F' + i)};
    prompt.ids = l.tokenizer.encode(prompt.text, true);
    prompt.where = fmt::format("prompts.txt line {}", i + 1);
    (i < 24 ? parts.prompts : parts.validation).push_back(prompt);
  }
  parts.response_length = 8;
  parts.reward = [](const std::vector<train::Answer>& answers) {
    std::vector<double> scores;
    for (const train::Answer& answer : answers) {
      double score = 0;
      for (const char c : answer.response) score += c < 'X' ? 1 : -1;
      scores.push_back(score / 8);
    }
    return scores;
  };
  l.objective = std::make_unique<train::Ppo>(std::move(parts));
}

void images(Learner& l, train::GradSync* sync) {
  const fs::path folder = golden_dir() / "models" / "resnet-basic";
  l.network = models::ResNet::load(folder);
  lora::LoraConfig config = config_with(0);
  config.r = 2;
  config.target_modules = std::vector<std::string>{"convolution"};
  config.modules_to_save = {"classifier"};
  l.injected.emplace(lora::inject(l.network->network(), config, 9));
  const auto set = [&](std::uint64_t seed, std::uint64_t count) {
    const core::RandomStream random(seed, "pictures");
    data::ImageSet made;
    made.channels = l.network->config().num_channels;
    made.height = made.width = 16;
    for (std::uint64_t i = 0; i < count * static_cast<std::uint64_t>(made.channels) * 256; ++i)
      made.pixels.push_back(static_cast<std::uint8_t>(random.below(256, i)));
    for (std::uint64_t i = 0; i < count; ++i) {
      made.labels.push_back(static_cast<std::int64_t>(random.below(l.network->config().labels.size(), i, 1)));
      made.names.push_back(fmt::format("{}.png", i));
    }
    made.classes = l.network->config().labels;
    std::vector<float> values(256);
    for (std::size_t v = 0; v < 256; ++v) values[v] = static_cast<float>(v) / 128 - 1;
    made.values.assign(static_cast<std::size_t>(made.channels), values);
    return made;
  };
  train::ImageClassification::Parts parts;
  deal(parts, sync);
  parts.model = &*l.network;
  parts.adapter = &*l.injected;
  parts.train = set(1, 40);
  parts.evaluation.emplace_back("validation", set(2, 70));
  l.objective = std::make_unique<train::ImageClassification>(std::move(parts));
}

struct Ran {
  Results results;
  std::vector<train::StepMetrics> steps;
  train::TrainResult result;
  std::vector<std::string> files;  // of the run
};

/// The same run on one rank, or on two in threads; what rank 0 saw.
Ran run(const Make& make, int ranks) {
  TempDir out;
  Ran ran;
  std::vector<Recorder> recorders(static_cast<std::size_t>(ranks));
  const auto train_on = [&](train::GradSync& sync) {
    Learner learner;
    make(learner, &sync);
    Recorder& recorder = recorders[static_cast<std::size_t>(sync.rank())];
    const train::TrainResult result =
        train::Trainer(*learner.objective, tiny_training(), out.path(), {}, nullptr, &sync).run(recorder);
    if (sync.rank() == 0) ran.result = result;
  };
  on_ranks(ranks, train_on);
  ran.steps = recorders[0].steps;
  ran.results = results_of(out.path());
  for (const auto& entry : fs::recursive_directory_iterator(out.path()))
    ran.files.push_back(fs::relative(entry.path(), out.path()).string());
  std::sort(ran.files.begin(), ran.files.end());
  for (std::size_t r = 1; r < recorders.size(); ++r) {
    CHECK(recorders[r].steps.empty());  // rank 0 alone tells
    CHECK(recorders[r].checkpoints == 0);
  }
  return ran;
}

std::int64_t rows(const std::string& metrics) { return std::count(metrics.begin(), metrics.end(), '\n'); }

}  // namespace

TEST_CASE("two ranks have the losses of one, rank 0 alone writes, and the bytes are the same from run to run",
          "[unit]") {
  const std::vector<std::pair<const char*, Make>> objectives = {{"causal lm", causal_lm},
                                                                {"experts", experts},
                                                                {"classification", classification},
                                                                {"reward", reward_model},
                                                                {"dpo", dpo},
                                                                {"ppo", ppo},
                                                                {"images", images}};
  for (const auto& [name, make] : objectives) {
    INFO(name);
    const Ran one = run(make, 1), two = run(make, 2);
    REQUIRE(one.steps.size() == kSteps);
    REQUIRE(two.steps.size() == kSteps);
    for (std::size_t i = 0; i < kSteps; ++i) {
      INFO("step " << i + 1);
      CHECK(two.steps[i].loss == Approx(one.steps[i].loss).epsilon(1e-5).margin(1e-7));
      CHECK(two.steps[i].tokens == one.steps[i].tokens);
      CHECK(two.steps[i].epoch == one.steps[i].epoch);
      REQUIRE(two.steps[i].metrics.size() == one.steps[i].metrics.size());
      for (const auto& [metric, value] : one.steps[i].metrics) {
        INFO(metric);
        CHECK(two.steps[i].metrics.at(metric) == Approx(value).epsilon(1e-4).margin(1e-6));
      }
    }
    REQUIRE(two.result.after.size() == one.result.after.size());
    for (std::size_t i = 0; i < one.result.after.size(); ++i) {
      CHECK(two.result.after[i].loss == Approx(one.result.after[i].loss).epsilon(1e-5).margin(1e-7));
      CHECK(two.result.after[i].tokens == one.result.after[i].tokens);
    }
    // Before training nothing has been summed over ranks, and each batch is one rank's: the very same numbers.
    if (std::string(name) != "ppo") CHECK(two.result.before.at(0).loss == one.result.before.at(0).loss);
    CHECK(two.files == one.files);
    CHECK(rows(two.results.at("metrics")) == rows(one.results.at("metrics")));
    CHECK(differing(run(make, 2).results, two.results) == "");
  }
}

TEST_CASE("three ranks, one of which has nothing to do in a step, have the losses of one", "[unit]") {
  const auto make = [](Learner& l, train::GradSync* sync) {
    l.decoder = models::random_decoder(tiny_config(), 5, false);
    l.adapter = lora::attach(l.decoder->slot_table(), config_with(0.1), 9);
    train::CausalLm::Parts parts;
    parts.sync = sync;
    parts.plan.batch_size = 1;
    parts.plan.grad_accum = sync->ranks() == 3 ? 1 : 3;
    parts.plan.epochs = 3;
    parts.decoder = l.decoder;
    parts.adapter = &*l.adapter;
    parts.train = tiny_data(8, 1);  // steps of 3, 3 and 2
    parts.evaluation.emplace_back("validation", tiny_data(1, 2));
    l.objective = std::make_unique<train::CausalLm>(std::move(parts));
  };
  const Ran one = run(make, 1), three = run(make, 3);
  REQUIRE(one.steps.size() == 9);
  REQUIRE(three.steps.size() == 9);
  for (std::size_t i = 0; i < 9; ++i) CHECK(three.steps[i].loss == Approx(one.steps[i].loss).epsilon(1e-5));
}

TEST_CASE("a signal to any rank stops all at the same step, and the run goes on to the same bytes", "[unit]") {
  const Ran whole = run(causal_lm, 2);
  for (const int signalled : {0, 1}) {
    INFO("rank " << signalled);
    TempDir out;
    std::array<train::TrainResult, 2> stopped, ended;
    on_ranks(2, [&](train::GradSync& sync) {
      Learner learner;
      causal_lm(learner, &sync);
      std::atomic<int> stop{0};
      Recorder recorder;
      struct StopIn : train::GradSync {  // a signal that comes to one rank within its eighth step
        StopIn(train::GradSync& to, std::atomic<int>& flag, bool comes) : inner(to), stop(flag), here(comes) {}
        int rank() const override { return inner.rank(); }
        int ranks() const override { return inner.ranks(); }
        void sum(at::Tensor& gradients, train::StepTotals& totals) override {
          inner.sum(gradients, totals);
          if (++sums == 7 && here) stop = 15;
        }
        std::vector<std::string> gather(const std::string& bytes) override { return inner.gather(bytes); }
        train::GradSync& inner;
        std::atomic<int>& stop;
        bool here;
        int sums = 0;
      } seam(sync, stop, sync.rank() == signalled);
      stopped[static_cast<std::size_t>(sync.rank())] =
          train::Trainer(*learner.objective, tiny_training(), out.path(), {}, &stop, &seam).run(recorder);
    });
    for (const train::TrainResult& result : stopped) {
      CHECK(result.stop == train::TrainResult::Stop::kSignal);
      CHECK(result.signal == 15);
      CHECK(result.steps == 7);
    }
    on_ranks(2, [&](train::GradSync& sync) {
      Learner learner;
      causal_lm(learner, &sync);
      Recorder recorder;
      ended[static_cast<std::size_t>(sync.rank())] =
          train::Trainer(*learner.objective, tiny_training(), out.path(), {}, nullptr, &sync).run(recorder, true);
    });
    CHECK(ended[1].steps == kSteps);
    CHECK(ended[1].tokens == ended[0].tokens);
    CHECK(differing(results_of(out.path()), whole.results) == "");
  }
}

TEST_CASE("an error on one rank ends all, and the others name it", "[unit]") {
  struct Faulty : Toy {
    using Toy::Toy;
    std::vector<train::EvalResult> evaluate() override { return {}; }
    bool has_validation() const override { return false; }
  };
  TempDir out;
  std::array<std::string, 2> messages;
  on_ranks(2, [&](train::GradSync& sync) {
    Faulty toy;
    const int rank = sync.rank();
    toy.on_forward = [rank](std::int64_t step, std::int64_t) {
      if (rank == 1 && step == 3) throw DataError("row 7 is a riddle");
    };
    Recorder recorder;
    messages[static_cast<std::size_t>(rank)] =
        message_of<Error>([&] { train::Trainer(toy, toy_training(), out.path(), {}, nullptr, &sync).run(recorder); });
  });
  CHECK(messages[1] == "row 7 is a riddle");
  CHECK(messages[0] == "rank 1 stopped: row 7 is a riddle");
}

TEST_CASE("the rank that computes what is not finite is named, and nothing of it is saved", "[unit]") {
  TempDir out;
  std::array<std::string, 2> messages;
  on_ranks(2, [&](train::GradSync& sync) {
    ToyOptions options;
    if (sync.rank() == 1) options.nan_at = 4;
    Toy toy(options);
    Recorder recorder;
    messages[static_cast<std::size_t>(sync.rank())] = message_of<Error>(
        [&] { train::Trainer(toy, toy_training(), out.path(), {}, nullptr, &sync).run(recorder); });
  });
  CHECK(contains(messages[1], "at step 5 of 12 the loss is"));
  CHECK(messages[0] == "rank 1 stopped: " + messages[1]);
  for (const auto& [step, folder] : train::list_checkpoints(out.path())) CHECK(step <= 4);

  // Unless such steps are to be left out: then all leave it out.
  TempDir other;
  std::array<train::TrainResult, 2> results;
  on_ranks(2, [&](train::GradSync& sync) {
    ToyOptions options;
    if (sync.rank() == 1) options.nan_at = 4;
    Toy toy(options);
    train::TrainOptions training = toy_training();
    training.on_spike = train::OnSpike::kSkip;
    Recorder recorder;
    results[static_cast<std::size_t>(sync.rank())] =
        train::Trainer(toy, training, other.path(), {}, nullptr, &sync).run(recorder);
  });
  for (const train::TrainResult& result : results) {
    CHECK(result.steps == 12);
    CHECK(result.spikes.size() == 1);
  }
}

TEST_CASE("ranks that begin apart are refused, and so is another number of ranks at resumption", "[unit]") {
  TempDir out;
  CHECK(contains(message_of<ConfigError>([&] {
                   on_ranks(2, [&](train::GradSync& sync) {
                     Toy toy;
                     train::TrainOptions options = toy_training();
                     if (sync.rank() == 1) options.lr = 0.07;
                     Recorder recorder;
                     train::Trainer(toy, options, out.path(), {}, nullptr, &sync).run(recorder);
                   });
                 }),
                 "rank 1 does not have what rank 0 has (--lr: 0.05 on rank 0, 0.07 on rank 1)"));
  TempDir two;
  on_ranks(2, [&](train::GradSync& sync) {
    Learner learner;
    causal_lm(learner, &sync);
    Recorder recorder;
    train::Trainer(*learner.objective, tiny_training(), two.path(), {}, nullptr, &sync).run(recorder);
  });
  Learner learner;
  causal_lm(learner, nullptr);
  Recorder recorder;
  CHECK(contains(message_of<ConfigError>(
                     [&] { train::Trainer(*learner.objective, tiny_training(), two.path(), {}).run(recorder, true); }),
                 "ranks: 2 then, not set now"));
}
