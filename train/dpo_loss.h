// Losses of a preference pair, on log-probabilities of whole answers: plain numbers, with their slopes.
#pragma once

#include <cstdint>
#include <string>

namespace lowrank::train {

enum class DpoLoss { kSigmoid, kIpo, kHinge };
DpoLoss parse_dpo_loss(const std::string& name);  // ConfigError with the nearest name

/// Sums of log-probabilities over the answers' tokens, in nats, and how many tokens those are.
struct PairLogps {
  double chosen = 0, rejected = 0;                      // of the policy
  double reference_chosen = 0, reference_rejected = 0;  // of the reference
  std::int64_t chosen_tokens = 1, rejected_tokens = 1;
};

struct PairLoss {
  double loss = 0;
  double chosen_slope = 0, rejected_slope = 0;    // dloss / dlogps of the policy
  double chosen_reward = 0, rejected_reward = 0;  // beta·(policy - reference), the implicit rewards
};

/// With c and r the policy's log-ratios to the reference and m = c - r:
/// sigmoid: -log σ(beta·m) (Rafailov et al. 2023, equation 7); hinge: max(0, 1 - beta·m) (SLiC-HF, Zhao et al. 2023);
/// ipo: (c/|chosen| - r/|rejected| - 1/(2·beta))² (Azar et al. 2023, equation 17, a mean over tokens as in TRL).
PairLoss pair_loss(const PairLogps& logps, DpoLoss kind, double beta);

}  // namespace lowrank::train
