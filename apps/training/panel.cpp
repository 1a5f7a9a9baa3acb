#include "lowrank/apps/training/panel.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowrank/apps/console/block_curve.h"

namespace lowrank::apps {

namespace {
constexpr std::size_t kHeight = 6, kWidest = 110;
constexpr std::size_t kMostPoints = 4096;  // then every two become one
}  // namespace

void Panel::begin(std::int64_t steps) {
  steps_ = steps;
  losses_.clear();
}

double Panel::where(std::int64_t step) const {
  return static_cast<double>(step - 1) / static_cast<double>(std::max<std::int64_t>(1, steps_));
}

void Panel::step(const train::StepMetrics& metrics) {
  losses_.emplace_back(where(metrics.step), metrics.loss);
  if (losses_.size() < kMostPoints) return;
  for (std::size_t i = 0; 2 * i + 1 < losses_.size(); ++i) {
    losses_[i] = {losses_[2 * i].first, (losses_[2 * i].second + losses_[2 * i + 1].second) / 2};
  }
  losses_.resize(losses_.size() / 2);
}

void Panel::evaluated(std::int64_t step, const std::vector<train::EvalResult>& results, bool best) {
  evaluation_.clear();
  for (const train::EvalResult& result : results) {
    evaluation_ += fmt::format("{}{} {:.4f}", evaluation_.empty() ? "" : "   ", result.split, result.loss);
    if (result.metrics.empty()) evaluation_ += fmt::format(" (perplexity {:.2f})", std::exp(result.loss));
  }
  if (!evaluation_.empty()) evaluation_ += fmt::format("   at step {}{}", step, best ? ", best so far" : "");
}

bool Panel::fits(const TerminalSize& size) { return size.columns >= 60 && size.rows >= kHeight + 10; }

std::vector<std::string> Panel::lines(const std::string& position, const std::string& figures, std::size_t columns) const {
  std::vector<std::string> lines = block_curve(losses_, std::min(columns - 1, kWidest), kHeight);
  lines.insert(lines.begin(), position);
  lines.push_back(figures);
  if (!evaluation_.empty()) lines.push_back(evaluation_);
  return lines;
}

}  // namespace lowrank::apps
