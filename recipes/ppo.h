// Learning from rewards of the model's own answers (PPO).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/data/prompts.h"
#include "lowrank/recipes/observer.h"
#include "lowrank/recipes/result.h"
#include "lowrank/recipes/spec/specs.h"
#include "lowrank/train/reward.h"

namespace lowrank::recipes {

/// Prompts made in the program, none of more than `longest` tokens.
using PromptSource = std::function<data::Prompts(const data::Tokenizer&, std::int64_t longest)>;
/// These texts; longer ones are left out and counted as truncated.
PromptSource prompts(std::vector<std::string> texts);

struct PpoSpec : Spec {
  PpoSpec() { train.batch_size = 16; }
  std::string model;   // a folder, ORG/NAME in the Hugging Face cache, or an adapter
  DataSpec data;       // prompts: files as data::load_prompts reads them
  std::string reward;  // adapter:DIR, length:N, regex:RE, words:FILE, exact, exec:COMMAND
  std::vector<std::string> reward_env;  // variables that exec: gets beside PATH, HOME, LANG, TMPDIR
  double reward_timeout = 30, missing_eos_penalty = 0;
  bool whiten_rewards = false;
  std::int64_t response_length = 53, num_ppo_epochs = 4, num_mini_batches = 2;
  double kl_coef = 0.05;
  std::optional<double> target_kl;
  double kl_horizon = 10000, gamma = 1, lam = 0.95, cliprange = 0.2, cliprange_value = 0.2, vf_coef = 0.1;
  AdapterSpec adapter;
  TrainSpec train;
  RunSpec run;

  train::Reward reward_function;                  // instead of a built-in one; `reward` is then its name
  PromptSource prompt_source, validation_source;  // instead of data.data, data.val_data
};
void describe(Fields& table, PpoSpec& spec);

/// The adapter of the result is the policy. A reward_function must depend on the answers alone for a run to be
/// reproducible, and its name is all of it that a resumed run compares.
ModelResult ppo(const PpoSpec& spec, Observer& observer);

}  // namespace lowrank::recipes
