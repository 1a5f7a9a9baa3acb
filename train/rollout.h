// Answers drawn from the policy, with all that the update of PPO needs of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/records.h"
#include "lowrank/train/metrics.h"
#include "lowrank/train/ppo_math.h"
#include "lowrank/train/rollouts.h"

namespace lowrank::train {

struct Rollout {
  std::int64_t index = -1;              // which of the run; -1: none yet
  data::Examples examples;              // prompt and response; learned is the response
  std::vector<Episode> episodes;
  std::vector<std::string> responses;  // as text
  std::int64_t ended = 0;              // responses with an end token
  double kl_coef = 0;                  // that these rewards were made with
};

/// objective/kl, objective/entropy, objective/non_score_reward, objective/rlhf_reward, objective/scores,
/// val/num_eos_tokens, named and measured as in TRL.
Metrics rollout_metrics(const Rollout& rollout);

/// The episodes of `more` behind those of `all`: what other ranks drew.
void append(Rollout& all, Rollout more);

/// For a checkpoint: every number comes back as it was.
core::Json to_json(const Rollout& rollout);
Rollout rollout_from_json(const core::JsonView& json);

}  // namespace lowrank::train
