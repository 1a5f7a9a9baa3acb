#include "lowrank/apps/training/training_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowrank/apps/console/wrap.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"
#include "lowrank/recipes/run/run_report.h"

namespace lowrank::apps {

void TrainingView::on_start(std::int64_t /*first_step*/, std::int64_t steps) {
  steps_ = steps;
  panel_.begin(steps);
  if (log_every_ == 0) log_every_ = std::max<std::int64_t>(1, (steps + 19) / 20);
  last_time_ = now_seconds();
}

double TrainingView::training_left(std::int64_t step) const {
  return seconds_a_step_ * static_cast<double>(steps_ - step);
}

double TrainingView::evaluation_left(std::int64_t step) const {
  if (eval_every_ <= 0) return 0;
  const std::int64_t left = (steps_ + eval_every_ - 1) / eval_every_ - step / eval_every_;
  return eval_seconds_ * static_cast<double>(left) + whole_seconds_;
}

std::string TrainingView::left_text(std::int64_t step) const {
  const double evaluation = evaluation_left(step);
  return fmt::format("{} left{}", core::format_seconds(training_left(step) + evaluation),
                     evaluation >= 1 ? fmt::format(" ({} evaluation)", core::format_seconds(evaluation)) : "");
}

std::string TrainingView::own_metrics(const train::StepMetrics& m) const {
  std::string own;
  for (const std::string& name : shown_) {
    if (m.metrics.contains(name)) own += fmt::format("  {} {}", name, recipes::metric_text(m.metrics, name));
  }
  return own;
}

std::string TrainingView::progress_text(const train::StepMetrics& m) const {
  // What people look for first stands first: a narrow terminal cuts the end off.
  return fmt::format("step {}/{}  {}  loss {:.4f}{}  {} {}/s  lr {:.2e}  epoch {:.2f}", m.step, steps_, left_text(m.step), m.loss,
                     own_metrics(m), core::format_count(std::llround(m.tokens_per_second)), unit_, m.lr, m.epoch);
}

void TrainingView::draw(std::int64_t step, const std::string& doing, bool force) {
  if (!console_.live()) return;
  const TerminalSize size = terminal_size();
  if (!Panel::fits(size)) {
    bar_.draw(step, steps_, last_.step == 0 ? doing : progress_text(last_) + (doing.empty() ? "" : "  " + doing), force);
    return;
  }
  // What no longer fits is left out whole; what people look for first stands first.
  const std::size_t columns = size.columns - 1;
  const std::string position =
      joined_to_fit({fmt::format("{}step {}/{}", bar_text(step, steps_), step, steps_), last_.step == 0 ? "" : left_text(last_.step), doing,
                     fmt::format("epoch {:.2f}", last_.epoch)},
                    columns);
  const std::string figures =
      joined_to_fit({fmt::format("loss {:.4f}{}", last_.loss, own_metrics(last_)),
                     fmt::format("{} {}/s", core::format_count(std::llround(last_.tokens_per_second)), unit_),
                     fmt::format("lr {:.2e}", last_.lr), fmt::format("gradient norm {:.3g}", last_.grad_norm),
                     "peak memory " + core::format_bytes(static_cast<std::uint64_t>(last_.peak_rss_bytes))},
                    columns);
  bar_.draw(panel_.lines(position, last_.step == 0 ? "" : figures, size.columns), force);
}

void TrainingView::say_times(std::int64_t step) {
  constexpr double kWorthSaying = 5;  // seconds
  said_times_ = true;
  const double training = training_left(step), evaluation = evaluation_left(step);
  if (training + evaluation < kWorthSaying) return;
  bar_.clear();
  console_.line(fmt::format("about {} to go: training {} ({} of {}), evaluation {}",
                            core::format_seconds(training + evaluation), core::format_seconds(training),
                            core::counted(steps_ - step, "step"), core::format_seconds(seconds_a_step_),
                            core::format_seconds(evaluation)));
}

void TrainingView::on_micro(std::int64_t step, std::int64_t micro, std::int64_t of) {
  if (of > 1) draw(step, fmt::format("micro-batch {}/{}", micro + 1, of));
}

void TrainingView::on_step(const train::StepMetrics& metrics) {
  const double now = now_seconds();
  const double took = now - last_time_;
  last_time_ = now;
  seconds_a_step_ = seconds_a_step_ == 0 ? took : 0.95 * seconds_a_step_ + 0.05 * took;
  last_ = metrics;
  panel_.step(metrics);
  if (!said_times_) say_times(metrics.step);
  if (console_.live()) {
    draw(metrics.step, "");
  } else if (metrics.step % log_every_ == 0 || metrics.step == steps_) {
    console_.line(progress_text(metrics));
  }
}

void TrainingView::on_eval_begin(std::int64_t step) {
  eval_began_ = now_seconds();
  draw(step, "evaluating …", true);
}

std::string TrainingView::results_text(std::int64_t step, const std::vector<train::EvalResult>& results) const {
  std::string text = fmt::format("step {}/{}", step, steps_);
  for (const train::EvalResult& result : results) {
    text += fmt::format("  {} loss {:.4f}", result.split, result.loss);
    if (result.metrics.empty()) text += fmt::format(" (perplexity {:.2f})", std::exp(result.loss));
    for (const std::string& name : shown_) {
      if (result.metrics.contains(name))
        text += fmt::format("  {} {}", name, recipes::metric_text(result.metrics, name));
    }
  }
  return text;
}

void TrainingView::on_eval(std::int64_t step, const std::vector<train::EvalResult>& results, bool best) {
  last_time_ = now_seconds();
  eval_seconds_ = last_time_ - eval_began_;
  panel_.evaluated(step, results, best);
  bar_.clear();
  if (!results.empty()) console_.line(results_text(step, results) + (best ? "  best so far" : ""));
}

void TrainingView::on_whole_eval(std::int64_t step, const std::vector<train::EvalResult>& results) {
  whole_seconds_ = now_seconds() - last_time_;
  last_time_ = now_seconds();
  bar_.clear();
  console_.line(results_text(step, results) + "  on the whole");
}

void TrainingView::on_checkpoint(const std::filesystem::path&) { last_time_ = now_seconds(); }

void TrainingView::on_note(const std::string& text) {
  bar_.clear();
  console_.line(text);
}

}  // namespace lowrank::apps
