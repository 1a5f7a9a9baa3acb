#include "lowrank/apps/training/training_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowrank/core/text.h"
#include "lowrank/recipes/run/run_report.h"

namespace lowrank::apps {

void TrainingView::on_start(std::int64_t first_step, std::int64_t steps) {
  first_ = first_step;
  steps_ = steps;
  if (log_every_ == 0) log_every_ = std::max<std::int64_t>(1, (steps + 19) / 20);
  last_time_ = now_seconds();
}

std::string TrainingView::progress_text(const train::StepMetrics& m) const {
  const double left = seconds_a_step_ * static_cast<double>(steps_ - m.step);
  std::string own;
  for (const std::string& name : shown_) {
    if (m.metrics.contains(name)) own += fmt::format("  {} {}", name, recipes::metric_text(m.metrics, name));
  }
  return fmt::format("step {}/{}  epoch {:.2f}  loss {:.4f}{}  lr {:.2e}  {} {}/s  {} left", m.step, steps_, m.epoch,
                     m.loss, own, m.lr, core::format_count(std::llround(m.tokens_per_second)), unit_,
                     core::format_seconds(left));
}

void TrainingView::on_micro(std::int64_t step, std::int64_t micro, std::int64_t of) {
  if (of > 1) bar_.draw(step, steps_, fmt::format("{}  micro-batch {}/{}", last_text_, micro + 1, of));
}

void TrainingView::on_step(const train::StepMetrics& metrics) {
  const double now = now_seconds();
  const double took = now - last_time_;
  last_time_ = now;
  seconds_a_step_ = seconds_a_step_ == 0 ? took : 0.95 * seconds_a_step_ + 0.05 * took;
  last_text_ = progress_text(metrics);
  if (console_.live()) {
    bar_.draw(metrics.step, steps_, last_text_);
  } else if (metrics.step % log_every_ == 0 || metrics.step == steps_) {
    console_.line(last_text_);
  }
}

void TrainingView::on_eval_begin(std::int64_t) { bar_.draw(0, 0, "evaluating …", true); }

void TrainingView::on_eval(std::int64_t step, const std::vector<train::EvalResult>& results, bool best) {
  last_time_ = now_seconds();
  if (results.empty()) return;
  bar_.clear();
  std::string text = fmt::format("step {}/{}", step, steps_);
  for (const train::EvalResult& result : results) {
    text += fmt::format("  {} loss {:.4f}", result.split, result.loss);
    if (result.metrics.empty()) text += fmt::format(" (perplexity {:.2f})", std::exp(result.loss));
    for (const std::string& name : shown_) {
      if (result.metrics.contains(name))
        text += fmt::format("  {} {}", name, recipes::metric_text(result.metrics, name));
    }
  }
  if (best) text += "  best so far";
  console_.line(text);
}

void TrainingView::on_checkpoint(const std::filesystem::path&) { last_time_ = now_seconds(); }

void TrainingView::on_note(const std::string& text) {
  bar_.clear();
  console_.line(text);
}

}  // namespace lowrank::apps
