// The arithmetic of proximal policy optimisation on plain numbers: rewards, advantages, clipped losses with their
// slopes. Formulas and conventions are those of TRL's PPOTrainer (0.21), after Schulman et al. 2017 and Stiennon et al.
// 2020.
#pragma once

#include <cstdint>
#include <vector>

namespace lowrank::train {

struct PpoOptions {
  double gamma = 1, lambda = 0.95;           // generalised advantage estimation (Schulman et al. 2016)
  double clip = 0.2, value_clip = 0.2;       // of the ratio; of the value's move since the rollout
  double value_coef = 0.1;                   // weight of the value loss beside the policy's
  double kl_coef = 0.05;                     // of the first rollout; of all without target_kl
  double target_kl = 0, kl_horizon = 10000;  // 0: fixed. Else adapted (Ziegler et al. 2019, section 2.2)
  double missing_eos_penalty = 0;            // taken from the score of an answer without end token
  bool whiten_rewards = false;
};

/// An answer of n tokens, its end token included where it has one.
struct Episode {
  std::vector<double> logprobs, reference;  // [n] of policy and reference when the answer was drawn
  /// Of the state before each token, and where an answer ended before its greatest length, of the state after it: the
  /// score is paid there. [n] or [n + 1]; so are rewards and returns.
  std::vector<double> values;
  double score = 0;
  std::vector<double> rewards, returns;  // by score_episodes
  std::vector<double> advantages;        // [n], whitened over all episodes
};

/// Rewards: -kl_coef·(logprob - reference) a token, and the score at the end; advantages and returns from them.
void score_episodes(std::vector<Episode>& episodes, double kl_coef, const PpoOptions& options);

/// Mean over episodes of the sum over tokens of logprob - reference.
double mean_kl(const std::vector<Episode>& episodes);

/// The coefficient after a rollout of `episodes` answers with this KL; unchanged without a target.
double adapted_kl_coef(double kl_coef, double kl, std::int64_t episodes, const PpoOptions& options);

struct ClippedLoss {
  double loss = 0, slope = 0;  // slope: by the new log-probability, or the new value
  bool clipped = false;        // the clipped loss is the greater one
};
/// max(-A·ρ, -A·clamp(ρ, 1 ± clip)) with ρ = exp(logprob - old).
ClippedLoss policy_loss(double logprob, double old, double advantage, double clip);
/// max((v - R)², (clamp(v, old ± clip) - R)²).
ClippedLoss value_loss(double value, double old, double target, double clip);

}  // namespace lowrank::train
