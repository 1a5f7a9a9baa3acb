#include "lowrank/recipes/run/run_page.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>

#include "lowrank/core/json_text.h"
#include "lowrank/core/number.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"
#include "lowrank/recipes/run/curves.h"
#include "lowrank/recipes/run/rate_report.h"

namespace lowrank::recipes {

namespace {


/// Validation loss less the mean training loss since the evaluation before, at each evaluation after step 0.
eval::Curve gap(const eval::Curve& loss, const eval::Curve& validation) {
  eval::Curve curve{"validation less training", {}, true};
  double since = 0;
  for (const auto& [step, value] : validation.points) {
    double sum = 0, count = 0;
    for (const auto& [at, train] : loss.points) {
      if (at <= since || at > step) continue;
      sum += train;
      ++count;
    }
    if (count > 0) curve.points.emplace_back(step, value - sum / count);
    since = step;
  }
  return curve;
}

eval::ReportTable gap_table(const eval::Curve& validation, const eval::Curve& gaps) {
  eval::ReportTable table{"Training and validation",
                          "The gap is the validation loss less the mean training loss since the evaluation before: "
                          "growing, it says that the run learns its examples by heart.",
                          {"step", "training", "validation", "gap"},
                          {}};
  for (const auto& [step, difference] : gaps.points) {
    for (const auto& [at, loss] : validation.points) {
      if (at != step) continue;
      table.rows.push_back({fmt::format("{:.0f}", step), fmt::format("{:.4f}", loss - difference),
                            fmt::format("{:.4f}", loss), core::format_change(difference, 4)});
    }
  }
  return table;
}

eval::ReportTable data_table(const RunReport& report) {
  if (report.unit != "token") {
    eval::ReportTable table{"Data", "", {"data", "format", report.unit + "s"}, {}};
    for (const DataUsed& used : report.data)
      table.rows.push_back({used.name, used.report.format, core::format_count(used.report.examples)});
    return table;
  }
  eval::ReportTable table{"Data", "", {"data", "format", "documents", "examples", "tokens", "learned tokens"}, {}};
  for (const DataUsed& used : report.data) {
    table.rows.push_back({used.name, used.report.format, core::format_count(used.report.documents),
                          core::format_count(used.report.examples), core::format_count(used.report.tokens),
                          core::format_count(used.report.learned_tokens)});
  }
  return table;
}

}  // namespace

std::string run_page(const RunReport& report, const train::TrainResult& result, const Curves& curves) {
  eval::Report page;
  page.title = fmt::format("{} of {}", report.verb, report.model_name);
  if (report.verdict) page.verdict = report.verdict->rows();
  page.facts = {
      {"command", report.command},
      {"ended", fmt::format("{:%Y-%m-%d %H:%M} UTC, after {} of training", fmt::gmtime(std::time(nullptr)),
                            core::format_seconds(result.seconds))},
      {"machine", fmt::format("lowrank {}, LibTorch {}, {}, {}", report.environment["lowrank"].get<std::string>(),
                              report.environment["libtorch"].get<std::string>(),
                              report.environment["cpu_capability"].get<std::string>(),
                              core::counted(report.environment["threads"].get<int>(), "thread"))},
      {"model", fmt::format("{} ({}, {} parameters)", report.model_name, report.model_type,
                            core::format_count(report.base_parameters))},
      {"trained", fmt::format("{} parameters ({:.3f} %), {}", core::format_count(report.trainable_parameters),
                              report.trainable_percent(), core::format_bytes(report.result_bytes))},
      {"computed in", report.dtype},
      {"steps", fmt::format("{} of {}, {} {}s", core::format_count(result.steps), core::format_count(report.steps),
                            core::format_count(result.tokens), report.unit)},
      {"validation", report.validation_how}};
  if (result.best_loss)
    page.facts.emplace_back("best",
                            fmt::format("step {}, validation loss {:.4f}", result.best_step, *result.best_loss));
  if (result.lr_test.is_object())
    page.facts.emplace_back("learning rate", result.lr_test.at("reason").get<std::string>());
  for (const core::Json& spike : result.spikes) {
    page.facts.emplace_back("spike", fmt::format("step {}: {}; {}", spike.at("step").get<std::int64_t>(), spike.at("what").get<std::string>(),
                                                 spike.at("done").get<std::string>()));
  }
  for (const auto& [name, value] : report.options.items()) {
    const bool said =
        value.is_null() || name == "resume" || name == "overwrite" || name == "force" || value == core::Json(false);
    if (!said) page.options.emplace_back(name, value.is_string() ? value.get<std::string>() : core::json_text(value));
  }

  const auto [header, rows] = result_table(report, result);
  if (!rows.empty())
    page.tables.push_back(
        {"Before and after", report.shown_metrics.empty() ? "Losses in nats a token." : "", header, rows});
  page.tables.insert(page.tables.end(), report.tables.begin(), report.tables.end());
  const std::string unit = report.shown_metrics.empty() || report.unit != "token" ? "nats a " + report.unit : "loss";
  eval::Chart losses{"Loss", "step", unit, {curves.loss}};
  losses.curves.insert(losses.curves.end(), curves.evaluations.begin(), curves.evaluations.end());
  page.charts = {losses, {"Learning rate", "step", "", {curves.rate}}};
  if (result.lr_test.is_object()) page.charts.push_back(rate_chart(result.lr_test));
  if (const eval::Curve* const validation = curves.evaluation("validation")) {
    const eval::Curve gaps = gap(curves.loss, *validation);
    page.charts.push_back({"Gap between validation and training", "step", unit, {gaps}});
    page.tables.push_back(gap_table(*validation, gaps));
  }
  page.tables.push_back(data_table(report));
  if (report.samples) page.samples = report.samples();
  page.masks = report.masks;
  return eval::report_html(page);
}

}  // namespace lowrank::recipes
