// Preferences and rewards from C++: pairs, a reward function of one's own, the identity of a reward, refused penalties.
#include <fstream>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/lora/config.h"
#include "lowrank/recipes/dpo.h"
#include "lowrank/recipes/ppo.h"
#include "lowrank/recipes/reward.h"
#include "small_run.h"

using namespace lowrank;
using namespace lowrank_test;
using State = recipes::RunResult::State;

namespace {

fs::path pairs_file(const fs::path& file) {
  std::ofstream out(file);
  for (int i = 0; i < 8; ++i) {
    out << core::Json{{"prompt", "Tell of " + std::to_string(i) + ". "},
                      {"chosen", "It was good."},
                      {"rejected", "No, it was not so good at all."}}
               .dump()
        << "\n";
  }
  return file;
}

template <typename Spec>
Spec with_pairs(const TempDir& folder, const char* out) {
  Spec spec;
  spec.model = stories();
  spec.data.data = {pairs_file(folder / "pairs.jsonl").string()};
  spec.data.val_split = 0;
  spec.adapter.rank = 2;
  spec.train.max_steps = 2;
  spec.run.out = (folder / out).string();
  return spec;
}

recipes::PpoSpec ppo_spec(const fs::path& out) {
  recipes::PpoSpec spec;
  spec.model = stories();
  spec.prompt_source = recipes::prompts({"Once upon", "The dog", "A cat", "One day"});
  spec.data.val_split = 0;
  spec.response_length = 6;
  spec.num_ppo_epochs = 1;
  spec.num_mini_batches = 1;
  spec.train.batch_size = 2;
  spec.train.max_steps = 2;
  spec.adapter.rank = 2;
  spec.run.out = out.string();
  return spec;
}

std::string config_error(const std::function<void()>& call) {
  try {
    call();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("pairs: dpo and reward write adapters that are still on their models", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  recipes::Observer quiet;
  const auto dpo = recipes::dpo(with_pairs<recipes::DpoSpec>(folder, "dpo"), quiet);
  CHECK(dpo.state == State::kTrained);
  CHECK(dpo.run["verb"] == "align dpo");
  CHECK(dpo.adapter);
  CHECK(fs::exists(folder / "dpo" / "adapter_model.safetensors"));
  const auto reward = recipes::reward(with_pairs<recipes::RewardSpec>(folder, "reward"), quiet);
  CHECK(reward.state == State::kTrained);
  CHECK(reward.adapter->config().task_type == "SEQ_CLS");

  // The reward model judges the answers of a policy on the same base.
  auto spec = ppo_spec(folder / "ppo");
  spec.reward = "adapter:" + (folder / "reward").string();
  CHECK(recipes::ppo(spec, quiet).state == State::kTrained);
  // Which it does not remove, whatever it is told to replace; nor its own finished run where there are no prompts.
  const std::string judge = core::read_file(folder / "reward" / "adapter_model.safetensors");
  spec.run.out = (folder / "reward").string();
  spec.run.overwrite = true;
  CHECK(config_error([&] { recipes::ppo(spec, quiet); }).find("lies at or inside the input") != std::string::npos);
  CHECK(core::read_file(folder / "reward" / "adapter_model.safetensors") == judge);
  spec.run.out = (folder / "ppo").string();
  spec.prompt_source = recipes::prompts({});
  CHECK_THROWS_AS(recipes::ppo(spec, quiet), DataError);
  CHECK(fs::exists(folder / "ppo" / "adapter_model.safetensors"));
  CHECK(fs::exists(folder / "ppo" / "samples.jsonl"));
}

TEST_CASE("an adapter's dropout is off where preferences are learned from it, unless it is asked for", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  recipes::Observer quiet;
  auto start = with_pairs<recipes::DpoSpec>(folder, "start");
  start.adapter.dropout = 0.5;
  REQUIRE(recipes::dpo(start, quiet).state == State::kTrained);
  const auto further = [&](const char* out) {
    auto spec = with_pairs<recipes::DpoSpec>(folder, out);
    spec.adapter = {};
    spec.adapter.adapter = (folder / "start").string();
    return spec;
  };
  REQUIRE(recipes::dpo(further("calm"), quiet).state == State::kTrained);
  CHECK(lora::read_adapter_config(folder / "calm").lora_dropout == 0);
  auto asked = further("asked");
  asked.adapter.dropout = 0.5;
  REQUIRE(recipes::dpo(asked, quiet).state == State::kTrained);
  CHECK(lora::read_adapter_config(folder / "asked").lora_dropout == 0.5);
  CHECK(core::read_file(folder / "asked" / "adapter_model.safetensors") != core::read_file(folder / "calm" / "adapter_model.safetensors"));
}

TEST_CASE("what PPO comes to is told by its reward", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  recipes::Observer quiet;
  auto spec = ppo_spec(folder / "ppo");
  std::size_t rollouts = 0;
  spec.reward = "rising";
  spec.reward_function = [&](const std::vector<train::Answer>& answers) { return std::vector<double>(answers.size(), static_cast<double>(rollouts++)); };
  const auto result = recipes::ppo(spec, quiet);
  const std::string verdict = core::json_text(result.run["verdict"]);
  INFO(verdict);
  CHECK(verdict.find("reward less KL 0.0") != std::string::npos);
  CHECK(verdict.find("nothing") == std::string::npos);
}

TEST_CASE("a reward function of one's own hears of every answer, and its name is part of the run", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  recipes::Observer quiet;
  auto spec = ppo_spec(folder / "out");
  std::size_t seen = 0;
  spec.reward = "shortness";
  spec.reward_function = [&](const std::vector<train::Answer>& answers) {
    seen += answers.size();
    std::vector<double> scores;
    for (const train::Answer& answer : answers) scores.push_back(-static_cast<double>(answer.response.size()));
    return scores;
  };
  const auto result = recipes::ppo(spec, quiet);
  CHECK(result.state == State::kTrained);
  CHECK(seen == 4);  // two rollouts of two answers
  CHECK(result.run["options"]["reward"] == "shortness");
}

TEST_CASE("the words of a reward are part of the run's identity", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  std::ofstream(folder / "words.txt") << "happy\nday\n";
  auto spec = ppo_spec(folder / "out");
  spec.reward = "words:" + (folder / "words.txt").string();
  spec.train.max_steps = 4;
  spec.run.save_every = 1;
  struct StopsAtTwo : recipes::Observer {
    void on_step(const train::StepMetrics& metrics) override {
      if (metrics.step == 2) stop();
    }
  } stops;
  REQUIRE(recipes::ppo(spec, stops).state == State::kStopped);
  spec.run.resume = true;
  recipes::Observer quiet;
  std::ofstream(folder / "words.txt") << "sad\nday\n";
  CHECK(config_error([&] { recipes::ppo(spec, quiet); }).find("reward words") != std::string::npos);
  std::ofstream(folder / "words.txt") << "happy\nday\n";
  CHECK(recipes::ppo(spec, quiet).state == State::kTrained);
}

TEST_CASE("a rollout of more micro-batches than an int holds is refused, not wrapped", "[unit]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  recipes::Observer quiet;
  auto spec = ppo_spec(folder / "out");
  spec.reward = "length:5";
  spec.train.grad_accum = 1 << 20;
  spec.num_mini_batches = 1 << 16;  // the product is 2^36
  CHECK(config_error([&] { recipes::ppo(spec, quiet); }).starts_with("`num-mini-batches`: 65536 times"));
}

TEST_CASE("every recipe refuses penalties that would pull trained copies to zero", "[unit]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  recipes::Observer quiet;
  const auto refused = [](const std::string& message) {
    INFO(message);
    CHECK(message.starts_with("`l1`: is a penalty on A and B, and would pull the trained copy of "));
  };
  auto dpo = with_pairs<recipes::DpoSpec>(folder, "dpo");
  dpo.adapter.modules_to_save = "model.norm";
  dpo.train.l1 = 0.1;
  refused(config_error([&] { recipes::dpo(dpo, quiet); }));
  auto reward = with_pairs<recipes::RewardSpec>(folder, "reward");
  reward.adapter.modules_to_save = "model.norm";
  reward.train.l1 = 0.1;
  refused(config_error([&] { recipes::reward(reward, quiet); }));
  auto ppo = ppo_spec(folder / "ppo");
  ppo.reward = "length:5";
  ppo.adapter.modules_to_save = "model.norm";
  ppo.train.l1 = 0.1;
  refused(config_error([&] { recipes::ppo(ppo, quiet); }));
}

TEST_CASE("the reference of a run that begins with LoftQ is its beginning", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  auto dpo = with_pairs<recipes::DpoSpec>(folder, "dpo");
  dpo.data.val_data = {pairs_file(folder / "held.jsonl").string()};
  dpo.adapter.init = "loftq";
  dpo.run.base_dtype = "nf4";
  dpo.train.lr = 1e-12;
  Silent silent;
  const auto result = recipes::dpo(dpo, silent);
  REQUIRE(result.training);
  REQUIRE_FALSE(result.training->before.empty());
  CHECK(std::abs(result.training->before.front().loss - std::log(2.0)) < 1e-6);
}
