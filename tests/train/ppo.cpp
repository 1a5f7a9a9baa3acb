// PPO against torch by TRL's formulas (tests/parity/make_ppo_goldens.py), its rewards, and as every other run: resumed.
#include "lowrank/train/ppo.h"

#include <ATen/Parallel.h>

#include <chrono>
#include <thread>

#include "golden_gradients.h"
#include "letter_tokenizer.h"
#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/train/flat_parameters.h"
#include "lowrank/train/optimizer.h"
#include "message.h"
#include "same_bytes.h"
#include "tiny_model.h"
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

train::PpoOptions golden_options(const core::Json& options) {
  train::PpoOptions ppo;
  ppo.gamma = options["gamma"].get<double>();
  ppo.lambda = options["lam"].get<double>();
  ppo.clip = options["cliprange"].get<double>();
  ppo.value_clip = options["cliprange_value"].get<double>();
  ppo.value_coef = options["vf_coef"].get<double>();
  ppo.kl_coef = options["kl_coef"].get<double>();
  ppo.whiten_rewards = options["whiten_rewards"].get<bool>();
  return ppo;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

/// Loss and metrics of a step over all its micro-batches; its gradients are in `flat`, not yet divided.
struct Update {
  double loss = 0;
  std::int64_t count = 0;
  train::Metrics metrics;
};
Update update(train::Ppo& objective, train::FlatParameters& flat, std::int64_t step) {
  Update result;
  flat.zero_gradients();
  for (std::int64_t micro = 0; micro < objective.micro_batches(step); ++micro) {
    const train::MicroLoss part = objective.forward(step, micro);
    part.loss_sum.backward();
    result.loss += part.value;
    result.count += part.count;
    for (const auto& [name, sum] : part.metrics) result.metrics[name] += sum;
  }
  result.loss /= static_cast<double>(result.count);
  for (auto& [name, sum] : result.metrics) sum /= static_cast<double>(result.count);
  objective.complete_metrics(step, result.metrics);
  return result;
}

/// Prompts of two letters; the reward counts 'E' to 'Z' tokens among the first answers' letters.
struct TinyPpo {
  explicit TinyPpo(const fs::path& samples = {}, bool recompute = false, train::PpoOptions ppo = {}) {
    models::DecoderConfig config = tiny_config();
    config.eos_token_ids = {2};
    decoder = models::random_decoder(config, 5, false);
    lora::LoraConfig lora;
    lora.r = 5;
    lora.lora_alpha = 10;
    policy = lora::attach(decoder->slot_table(), lora, 9);
    value = lora::attach(decoder->slot_table(), lora, 9, "value");
    train::Ppo::Parts parts;
    parts.decoder = decoder;
    parts.policy = &*policy;
    parts.value = &*value;
    parts.tokenizer = &tokenizer;
    for (int i = 0; i < 14; ++i) {
      data::Prompt prompt;
      prompt.text = {static_cast<char>('D' + i), static_cast<char>('F' + 2 * i)};
      prompt.ids = tokenizer.encode(prompt.text, true);
      prompt.where = fmt::format("prompts.txt line {}", i + 1);
      (i < 11 ? parts.prompts : parts.validation).push_back(prompt);
    }
    parts.plan.batch_size = 3;
    parts.plan.grad_accum = 2;
    parts.plan.epochs = 3;
    parts.mini_batches = 2;
    parts.epochs = 2;
    parts.response_length = 8;
    parts.ppo = ppo;
    parts.recompute = recompute;
    parts.samples = samples;
    parts.reward = [](const std::vector<train::Answer>& answers) {
      std::vector<double> scores;
      for (const train::Answer& answer : answers) {
        double score = 0;
        for (const char c : answer.response) score += c < 'X' ? 1 : -1;
        scores.push_back(score / 8);
      }
      return scores;
    };
    objective = std::make_unique<train::Ppo>(std::move(parts));
  }
  LetterTokenizer tokenizer;
  models::Decoder decoder{nullptr};
  std::optional<lora::Adapter> policy, value;
  std::unique_ptr<train::Ppo> objective;
};

train::TrainOptions training() {
  train::TrainOptions options = tiny_training();
  options.eval_every = 8;
  options.save_every = 3;  // in the middle of rollouts of four steps
  return options;
}

std::map<std::string, std::string> results(const fs::path& out) {
  std::map<std::string, std::string> files = results_of(out);
  files["samples"] = read_text(out / "samples.jsonl");
  return files;
}

train::Answer an_answer(const std::string& response) {
  return {"Say it", response, static_cast<std::int64_t>(response.size()), "yes", "p.jsonl line 7"};
}

double score_of(const std::string& spec, const std::string& response, double timeout = 20) {
  return train::make_reward(spec, timeout)({an_answer(response)}).at(0);
}

}  // namespace

TEST_CASE("advantages, returns, losses, gradients and one update are those of TRL's formulas in torch", "[parity]") {
  const fs::path folder = golden_dir() / "models" / "llama", goldens = golden_dir() / "train" / "ppo";
  const core::Json golden = core::read_json(goldens / "update.json");
  const core::Json state = core::read_json(goldens / "ppo_state.json");
  const train::PpoOptions ppo = golden_options(golden["options"]);

  const train::Rollout expected = train::rollout_from_json(core::JsonView(state["rollout"], "rollout"));
  std::vector<train::Episode> episodes = expected.episodes;
  for (train::Episode& episode : episodes) episode.rewards = episode.returns = episode.advantages = {};
  train::score_episodes(episodes, ppo.kl_coef, ppo);
  for (std::size_t i = 0; i < episodes.size(); ++i) {
    INFO("answer " << i);
    CHECK(largest_difference(episodes[i].rewards, expected.episodes[i].rewards) < 1e-5);
    CHECK(largest_difference(episodes[i].returns, expected.episodes[i].returns) < 1e-5);
    CHECK(largest_difference(episodes[i].advantages, expected.episodes[i].advantages) < 1e-5);
  }

  const auto weights = formats::WeightFiles::open(folder);
  train::Ppo::Parts parts;
  parts.decoder = models::load_decoder(models::read_config(folder), weights, at::kFloat);
  lora::Adapter policy = lora::load_peft(parts.decoder->slot_table(), folder / "adapter");
  lora::Adapter value = lora::load_peft(parts.decoder->slot_table(), goldens / "value", nullptr, "value");
  parts.policy = &policy;
  parts.value = &value;
  for (const data::Example& example : expected.examples) {
    parts.prompts.push_back({example.ids, "", "prompts.txt", std::nullopt});
  }
  parts.plan.batch_size = 2;
  parts.plan.grad_accum = 3;
  parts.ppo = ppo;
  train::Ppo objective(std::move(parts));
  train::FlatParameters flat(objective.parameters());
  {
    const at::NoGradGuard no_grad;
    const auto head = golden["head"].get<std::vector<float>>();
    at::Tensor to = flat.parameters().back().tensor;
    REQUIRE(to.numel() == static_cast<std::int64_t>(head.size()));
    std::copy(head.begin(), head.end(), to.data_ptr<float>());
  }
  objective.load_state(goldens);

  const auto check = [&](const Update& found, const core::Json& wanted) {
    CHECK(found.loss == Approx(wanted["loss"].get<double>()).epsilon(1e-4));
    for (const auto& [name, number] : wanted["metrics"].items()) {
      INFO(name);
      CHECK(found.metrics.at(name) == Approx(number.get<double>()).epsilon(1e-4).margin(1e-6));
    }
  };
  const Update first = update(objective, flat, 0);
  CHECK(first.count == 6);
  check(first, golden["updates"][0]);
  flat.gradients().div_(6);
  check_gradients(flat, goldens / "gradients.safetensors", 1);
  const double lr = golden["options"]["lr"].get<double>();
  train::AdamW optimizer(flat, {lr, 0.9, 0.999, 1e-8, 0}, {{0, flat.size(), 1}});
  optimizer.step(flat, 1, lr);
  check(update(objective, flat, 1), golden["updates"][1]);
}

TEST_CASE("PPO killed within a rollout resumes to the same bytes, on any threads, with recomputation too", "[unit]") {
  TempDir whole;
  Recorder recorder;
  {
    TinyPpo tiny(whole / "samples.jsonl");
    train::Trainer(*tiny.objective, training(), whole.path(), {}).run(recorder);
  }
  CHECK(recorder.steps.size() == 24);  // 11 prompts in rollouts of 6: two an epoch, three epochs, four steps each
  const auto expected = results(whole.path());
  const int threads = at::get_num_threads();
  for (const bool recompute : {false, true}) {
    at::set_num_threads(recompute ? 1 : 3);
    TempDir out;
    TinyPpo tiny(out / "samples.jsonl", recompute);
    train::Trainer(*tiny.objective, training(), out.path(), {}).run(recorder);
    INFO("recompute " << recompute);
    CHECK(differing(results(out.path()), expected) == "");
  }
  at::set_num_threads(threads);
  const auto run = [](const fs::path& out, Recorder& r, bool resume) {
    TinyPpo tiny(out / "samples.jsonl");
    train::Trainer(*tiny.objective, training(), out, {}).run(r, resume);
  };
  check_resumes(run, {5, 16}, expected, results);  // within a rollout, and between two
}

TEST_CASE("the first update of a rollout begins where the policy stands, and the score rises", "[unit]") {
  TinyPpo tiny;
  const train::Rollout& rollout = tiny.objective->rollout_for(0);
  REQUIRE(rollout.episodes.size() == 6);
  CHECK(train::mean_kl(rollout.episodes) == 0);  // B is zero: the policy is the reference
  for (std::size_t i = 0; i < 6; ++i) {
    const train::Episode& episode = rollout.episodes[i];
    CHECK(episode.logprobs.size() + train::prompt_length(rollout.examples[i]) == rollout.examples[i].ids.size());
    const bool ended = rollout.examples[i].ids.back() == 2;
    CHECK(episode.values.size() == episode.logprobs.size() + (ended && episode.logprobs.size() < 8 ? 1 : 0));
  }
  TempDir out;
  Recorder recorder;
  train::TrainOptions options = training();
  options.lr = 2e-2;
  options.schedule = train::Schedule::kConstant;  // every one of the few steps at the whole rate
  options.warmup = 0;
  TinyPpo learning(out / "samples.jsonl");
  train::Trainer(*learning.objective, options, out.path(), {}).run(recorder);
  CHECK(recorder.steps.front().metrics.at("val/ratio") == Approx(1).margin(1e-4));
  CHECK(recorder.steps.back().metrics.at("objective/scores") >
        recorder.steps.front().metrics.at("objective/scores") + 0.1);
  CHECK(recorder.steps.back().metrics.at("objective/kl") > 0);
  CHECK(fs::exists(out / "adapter_model.safetensors"));
  const auto saved = formats::SafetensorsFile::open(out / "adapter_model.safetensors");
  CHECK(saved->find("value.score.weight") == nullptr);  // the policy alone
}

TEST_CASE("LoRA+ leaves the value head at the plain rate", "[unit]") {
  TinyPpo tiny;
  const std::vector<lora::NamedTensor> parameters = tiny.objective->parameters();
  REQUIRE(parameters.back().name == "value.score.weight");
  const auto ranges = train::rate_ranges(parameters, 16);
  CHECK(ranges.back().factor == 1);
  CHECK(ranges.back().end - ranges.back().begin == parameters.back().tensor.numel());
}

namespace {

/// TinyPpo's models with adapters of another config, and B of the policy moved away from 0 where it begins elsewhere.
struct OtherPpo {
  explicit OtherPpo(const lora::LoraConfig& config, bool moved = false, bool with_reference = false) {
    const auto attach = [&](std::optional<lora::Adapter>& adapter, const std::string& name, bool away) {
      lora::LoraConfig own = config;
      if (name == "value") own.init_lora_weights = "default";
      adapter = lora::attach(tiny.decoder->slot_table(), own, 9, name);
      if (!away) return;
      const at::NoGradGuard no_grad;
      for (auto& [path, tensor] : adapter->parameters()) tensor.add_(0.03);
    };
    tiny.policy->detach();
    tiny.value->detach();
    attach(policy, lora::kDefaultAdapter, moved);
    attach(value, "value", false);
    if (with_reference) attach(reference, "reference", moved);
    train::Ppo::Parts parts;
    parts.decoder = tiny.decoder;
    parts.policy = &*policy;
    parts.value = &*value;
    parts.reference = reference ? &*reference : nullptr;
    parts.tokenizer = &tiny.tokenizer;
    for (int i = 0; i < 6; ++i) {
      const std::string text = {static_cast<char>('D' + i), 'K'};
      parts.prompts.push_back({tiny.tokenizer.encode(text, true), text, "prompts.txt", std::nullopt});
    }
    parts.plan.batch_size = 3;
    parts.plan.epochs = 4;
    parts.epochs = 2;
    parts.response_length = 6;
    parts.reward = [](const std::vector<train::Answer>& answers) {
      std::vector<double> scores;
      for (const train::Answer& answer : answers) scores.push_back(answer.response.front() < 'X' ? 1 : -1);
      return scores;
    };
    objective = std::make_unique<train::Ppo>(std::move(parts));
  }
  TinyPpo tiny;
  std::optional<lora::Adapter> policy, value, reference;
  std::unique_ptr<train::Ppo> objective;
};

lora::LoraConfig small_config() {
  lora::LoraConfig config;
  config.r = 4;
  config.lora_alpha = 8;
  return config;
}

}  // namespace

TEST_CASE("PPO learns where the output head alone is adapted", "[unit]") {
  lora::LoraConfig config = small_config();
  config.target_modules = std::vector<std::string>{"lm_head"};
  OtherPpo other(config);
  TempDir out;
  Recorder recorder;
  train::Trainer(*other.objective, tiny_training(), out.path(), {}).run(recorder);
  CHECK(recorder.steps.size() == 16);
  CHECK(recorder.steps.back().metrics.at("loss/value_avg") != recorder.steps.front().metrics.at("loss/value_avg"));
  CHECK(recorder.steps.back().metrics.at("objective/kl") != 0);
}

TEST_CASE("PPO that goes on from an adapter has that adapter as its reference, unmoved by training", "[unit]") {
  OtherPpo from_base(small_config(), true), from_start(small_config(), true, true);
  CHECK(std::abs(train::mean_kl(from_base.objective->rollout_for(0).episodes)) > 1e-3);
  CHECK(train::mean_kl(from_start.objective->rollout_for(0).episodes) == 0);
  TempDir out;
  Recorder recorder;
  train::Trainer(*from_start.objective, tiny_training(), out.path(), {}).run(recorder);
  CHECK(recorder.steps.back().metrics.at("objective/kl") != 0);
  for (const auto& [name, tensor] : from_start.objective->parameters()) {
    CHECK(name.find("reference") == std::string::npos);
  }
}

TEST_CASE("the KL coefficient follows its target by a fifth at most, scaled by the horizon", "[unit]") {
  train::PpoOptions options;
  CHECK(train::adapted_kl_coef(0.05, 9, 32, options) == 0.05);
  options.target_kl = 6;
  options.kl_horizon = 100;
  CHECK(train::adapted_kl_coef(0.05, 600, 50, options) == Approx(0.05 * 1.1));
  CHECK(train::adapted_kl_coef(0.05, 0, 50, options) == Approx(0.05 * 0.9));
  CHECK(train::adapted_kl_coef(0.05, 6.6, 50, options) == Approx(0.05 * 1.05));
}

TEST_CASE("slopes of the clipped losses are their differences", "[unit]") {
  for (const double old : {-1.0, -0.9, -1.6}) {
    for (const double advantage : {-2.0, 0.7}) {
      const double h = 1e-6;
      const auto policy = train::policy_loss(-1.05, old, advantage, 0.2);
      CHECK(policy.slope == Approx((train::policy_loss(-1.05 + h, old, advantage, 0.2).loss -
                                    train::policy_loss(-1.05 - h, old, advantage, 0.2).loss) /
                                   (2 * h))
                                .margin(1e-6));
      const auto value = train::value_loss(-1.05, old, advantage, 0.2);
      CHECK(value.slope == Approx((train::value_loss(-1.05 + h, old, advantage, 0.2).loss -
                                   train::value_loss(-1.05 - h, old, advantage, 0.2).loss) /
                                  (2 * h))
                               .margin(1e-6));
    }
  }
}

TEST_CASE("built-in rewards", "[unit]") {
  CHECK(score_of("length:8", "12345678") == 1);
  CHECK(score_of("length:8", "1234") == 0.5);
  CHECK(score_of("length:2", std::string(50, 'x')) == -1);
  CHECK(score_of("regex:[0-9]{2}", "in 42 days") == 1);
  CHECK(score_of("regex:[0-9]{2}", "in 4 days") == 0);
  CHECK(score_of("exact", " yes\n") == 1);
  CHECK(score_of("exact", "yes it is") == 0);
  TempDir dir;
  write_text(dir / "words.txt", "Blue\nsea\nsky\n");
  CHECK(score_of("words:" + (dir / "words.txt").string(), "The sea, the SEA is blue. Blues!") == 2);
  for (const char* wrong : {"length:x", "length:0", "lenght:3", "regex:", "exact:", "nonsense"}) {
    INFO(wrong);
    CHECK(contains(message_of<ConfigError>([&] { train::make_reward(wrong, 1); }), "`reward`"));
  }
  CHECK(contains(message_of<ConfigError>([] { train::make_reward("lenght:3", 1); }), "did you mean 'length'"));
  for (const char* half : {"length", "length:"}) {
    CHECK(contains(message_of<ConfigError>([&] { train::make_reward(half, 1); }), "length is written length:N, found 'length"));
  }
  CHECK(contains(message_of<ConfigError>([] { train::make_reward("exact:1", 1); }), "exact is written exact, found 'exact:1'"));
  train::Answer without = an_answer("x");
  without.expected.reset();
  CHECK(contains(message_of<DataError>([&] { train::make_reward("exact", 1)({without}); }), "p.jsonl line 7"));
}

TEST_CASE("a reward program is spoken to by JSON lines, and its faults stop the run with one sentence", "[unit]") {
  const train::Reward reward = train::make_reward(
      "exec:while read -r line; do case \"$line\" in *good*'\"answer\":\"yes\"'*) echo '{\"score\": 2.5}';; *) echo "
      "'{\"score\": -1, \"why\": \"bad\"}';; esac; done",
      20);
  CHECK(reward({an_answer("good"), an_answer("bad"), an_answer("so good")}) == std::vector<double>{2.5, -1, 2.5});
  struct Fault {
    const char* command;
    const char* part;
    double timeout = 20;  // seconds; short where the program never answers, ample where a busy machine must start one
  };
  for (const Fault& fault :
       {Fault{"exec:exit 3", "has ended"}, Fault{"exec:read l; echo 7 is the score", "wrote '7 is"},
        Fault{"exec:read l; echo '{\"scroe\": 1}'", "score"},
        Fault{"exec:read l; echo '{\"score\": \"high\"}'", "number"},
        Fault{"exec:/no/such/program 2>/dev/null", "has ended"},
        Fault{"exec:sleep 60 & sleep 60", "gave no score within", 0.5},
        Fault{"exec:read l; head -c 3000000 /dev/zero 2>/dev/null; sleep 60", "1 MiB"},
        Fault{"exec:read l; printf '{\"score\": 1}\\n{\"score\": 2}\\n'; sleep 60", "more than one line"},
        Fault{"exec:read l; echo '{\"score\": 1, \"id\": 7}'", "answered id 7 where 1 was asked"},
        Fault{"exec:read l; echo '{\"score\": 1, \"id\": \"1\"}'", "answered id \"1\" where 1 was asked"}}) {
    INFO(fault.command);
    const auto began = std::chrono::steady_clock::now();
    const std::string message = message_of<DataError>([&] { score_of(fault.command, "text", fault.timeout); });
    CHECK(contains(message, fault.part));
    CHECK(contains(message, "p.jsonl line 7"));
    CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(30));
  }
}

TEST_CASE("a reward program answers by its request's id, is waited for no longer than said, and knows no tokens",
          "[unit]") {
  const train::Reward echo = train::make_reward(
      "exec:while read -r l; do l=${l#*:}; echo \"{\\\"id\\\": ${l%%,*}, \\\"score\\\": ${l%%,*}}\"; done", 20);
  CHECK(echo({an_answer("a"), an_answer("b")}) == std::vector<double>{1, 2});
  CHECK(echo({an_answer("c")}) == std::vector<double>{3});
  // A second line that comes late is found before the next request is written, once it lies there by then; until then it is
  // taken for the next answer (ids would tell), so time passes between the requests.
  const train::Reward twice = train::make_reward(
      "exec:while read -r l; do echo '{\"score\": 1}'; sleep 0.05; echo '{\"score\": 2}'; done", 20);
  CHECK(contains(message_of<DataError>([&] {
                   for (int i = 0; i < 20; ++i) {
                     twice({an_answer("a")});
                     std::this_thread::sleep_for(std::chrono::milliseconds(300));
                   }
                 }),
                 "more than one line"));
  CHECK(contains(message_of<DataError>([] { score_of("exec:sleep 60", std::string(8 << 20, 'x'), 0.5); }),
                 "did not read its input within 0.5 s"));
  ::setenv("HF_TOKEN", "secret", 1);
  const std::string length = "exec:while read -r l; do echo \"{\\\"score\\\": ${#HF_TOKEN}}\"; done";
  CHECK(score_of(length, "a") == 0);
  CHECK(train::make_reward(length, 20, {"HF_TOKEN"})({an_answer("a")}) == std::vector<double>{6});
  ::unsetenv("HF_TOKEN");
}

TEST_CASE("a reward that is no number stops the run and names the prompt", "[unit]") {
  train::PpoOptions ppo;
  TinyPpo tiny;
  train::Ppo::Parts parts;
  parts.decoder = tiny.decoder;
  parts.policy = &*tiny.policy;
  parts.value = &*tiny.value;
  parts.tokenizer = &tiny.tokenizer;
  parts.prompts = {{{5, 6}, "FG", "prompts.txt line 1", std::nullopt}};
  parts.response_length = 3;
  parts.reward = [](const std::vector<train::Answer>& answers) {
    return std::vector<double>(answers.size(), std::nan(""));
  };
  train::Ppo objective(std::move(parts));
  CHECK(contains(message_of<DataError>([&] { objective.rollout_for(0); }), "prompts.txt line 1"));
}
