#include "lowrank/train/dpo_loss.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::train {
namespace {

constexpr std::array<std::pair<DpoLoss, const char*>, 3> kNames = {
    {{DpoLoss::kSigmoid, "sigmoid"}, {DpoLoss::kIpo, "ipo"}, {DpoLoss::kHinge, "hinge"}}};

/// log(1 + e^x) without overflow.
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

double sigmoid(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }

}  // namespace

DpoLoss parse_dpo_loss(const std::string& name) {
  std::vector<std::string> known;
  for (const auto& [kind, text] : kNames) {
    if (name == text) return kind;
    known.emplace_back(text);
  }
  throw ConfigError("unknown preference loss '" + core::printable(name) + "'" + core::did_you_mean(name, known) +
                    " (known: sigmoid, ipo, hinge)");
}

PairLoss pair_loss(const PairLogps& logps, DpoLoss kind, double beta) {
  const double chosen = logps.chosen - logps.reference_chosen, rejected = logps.rejected - logps.reference_rejected;
  const double margin = beta * (chosen - rejected);
  PairLoss result;
  result.chosen_reward = beta * chosen;
  result.rejected_reward = beta * rejected;
  switch (kind) {
    case DpoLoss::kSigmoid:
      result.loss = softplus(-margin);
      result.chosen_slope = -beta * sigmoid(-margin);
      result.rejected_slope = -result.chosen_slope;
      break;
    case DpoLoss::kHinge:
      result.loss = std::max(0.0, 1 - margin);
      result.chosen_slope = margin < 1 ? -beta : 0;
      result.rejected_slope = -result.chosen_slope;
      break;
    case DpoLoss::kIpo: {
      const auto n = static_cast<double>(std::max<std::int64_t>(1, logps.chosen_tokens));
      const auto m = static_cast<double>(std::max<std::int64_t>(1, logps.rejected_tokens));
      const double off = chosen / n - rejected / m - 1 / (2 * beta);
      result.loss = off * off;
      result.chosen_slope = 2 * off / n;
      result.rejected_slope = -2 * off / m;
      break;
    }
  }
  return result;
}

}  // namespace lowrank::train
