#include "lowrank/train/ppo_math.h"

#include <algorithm>
#include <cmath>

namespace lowrank::train {
namespace {

using Rows = std::vector<double> Episode::*;

/// (x - mean)/sqrt(var + 1e-8) over all numbers of all episodes, var with Bessel's correction; the mean is put back
/// where it is not to be shifted. Fewer than two numbers stay as they are.
void whiten(std::vector<Episode>& episodes, Rows rows, bool shift_mean) {
  double n = 0, sum = 0, squares = 0;
  for (const Episode& episode : episodes) {
    for (const double x : episode.*rows) sum += x;
    n += static_cast<double>((episode.*rows).size());
  }
  if (n < 2) return;
  const double mean = sum / n;
  for (const Episode& episode : episodes) {
    for (const double x : episode.*rows) squares += (x - mean) * (x - mean);
  }
  const double scale = 1 / std::sqrt(squares / (n - 1) + 1e-8);
  for (Episode& episode : episodes) {
    for (double& x : episode.*rows) x = (x - mean) * scale + (shift_mean ? 0 : mean);
  }
}

}  // namespace

void score_episodes(std::vector<Episode>& episodes, double kl_coef, const PpoOptions& options) {
  for (Episode& episode : episodes) {
    episode.rewards.assign(episode.values.size(), 0.0);
    for (std::size_t t = 0; t < episode.logprobs.size(); ++t) {
      episode.rewards[t] = -kl_coef * (episode.logprobs[t] - episode.reference[t]);
    }
    episode.rewards.back() += episode.score;
  }
  if (options.whiten_rewards) whiten(episodes, &Episode::rewards, false);
  for (Episode& episode : episodes) {
    const std::size_t n = episode.values.size();
    episode.returns.resize(n);
    double gae = 0;
    for (std::size_t t = n; t-- > 0;) {
      const double next = t + 1 < n ? episode.values[t + 1] : 0;
      gae = episode.rewards[t] + options.gamma * next - episode.values[t] + options.gamma * options.lambda * gae;
      episode.returns[t] = gae + episode.values[t];
    }
    episode.advantages.resize(episode.logprobs.size());
    for (std::size_t t = 0; t < episode.advantages.size(); ++t) {
      episode.advantages[t] = episode.returns[t] - episode.values[t];
    }
  }
  whiten(episodes, &Episode::advantages, true);
}

double mean_kl(const std::vector<Episode>& episodes) {
  double sum = 0;
  for (const Episode& episode : episodes) {
    for (std::size_t t = 0; t < episode.logprobs.size(); ++t) sum += episode.logprobs[t] - episode.reference[t];
  }
  return sum / static_cast<double>(episodes.size());
}

double adapted_kl_coef(double kl_coef, double kl, std::int64_t episodes, const PpoOptions& options) {
  if (options.target_kl <= 0) return kl_coef;
  const double error = std::clamp(kl / options.target_kl - 1, -0.2, 0.2);
  return kl_coef * (1 + error * static_cast<double>(episodes) / options.kl_horizon);
}

ClippedLoss policy_loss(double logprob, double old, double advantage, double clip) {
  const double ratio = std::exp(logprob - old);
  const double free = -advantage * ratio, held = -advantage * std::clamp(ratio, 1 - clip, 1 + clip);
  if (held > free) return {held, 0, true};  // only outside the range, where the clamp is flat
  return {free, free, false};
}

ClippedLoss value_loss(double value, double old, double target, double clip) {
  const double held = std::clamp(value, old - clip, old + clip);
  const double free_loss = (value - target) * (value - target), held_loss = (held - target) * (held - target);
  if (held_loss > free_loss) return {held_loss, 0, true};
  return {free_loss, 2 * (value - target), false};
}

}  // namespace lowrank::train
