#include "lowrank/recipes/run/run_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowrank/core/files.h"
#include "lowrank/core/text.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;

/// The rows of metrics.jsonl as curves.
struct Metrics {
  eval::Curve loss{"training", {}}, rate{"learning rate", {}};
  std::vector<eval::Curve> evaluations;  // a set each, in the order in which they come
};

eval::Curve& curve_of(Metrics& metrics, const std::string& split) {
  const auto it = std::find_if(metrics.evaluations.begin(), metrics.evaluations.end(),
                               [&](const auto& c) { return c.name == split; });
  return it != metrics.evaluations.end() ? *it : metrics.evaluations.emplace_back(eval::Curve{split, {}, true});
}

Metrics read_metrics(const fs::path& file) {
  const std::string text = core::read_file(file);
  Metrics metrics;
  std::int64_t line = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string where = fmt::format("{} line {}", file.string(), ++line);
    const core::Json row = core::parse_json(std::string_view(text).substr(begin, end - begin), where);
    const core::JsonView view(row, where);
    begin = end + 1;
    if (!view.has_value("step")) continue;
    const double step = view.at("step").as_double();
    if (view.has_value("eval_loss")) {
      curve_of(metrics, view.get_string("split", "validation"))
          .points.emplace_back(step, view.at("eval_loss").as_double());
    } else if (view.has_value("loss")) {
      metrics.loss.points.emplace_back(step, view.at("loss").as_double());
      if (view.has_value("lr")) metrics.rate.points.emplace_back(step, view.at("lr").as_double());
    }
  }
  return metrics;
}

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
                            fmt::format("{:.4f}", loss), fmt::format("{:+.4f}", difference)});
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

std::string run_page(const RunReport& report, const train::TrainResult& result, const fs::path& out) {
  const Metrics metrics = read_metrics(out / "metrics.jsonl");
  eval::Report page;
  page.title = fmt::format("{} of {}", report.verb, report.model_name);
  page.facts = {
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
  std::string options;
  for (const auto& [name, value] : report.options.items()) {
    const bool said =
        value.is_null() || name == "resume" || name == "overwrite" || name == "force" || value == core::Json(false);
    if (!said)
      options += fmt::format("{}{} {}", options.empty() ? "" : ", ", name,
                             value.is_string() ? value.get<std::string>() : value.dump());
  }
  page.facts.emplace_back("options", options);

  const auto [header, rows] = result_table(report, result);
  if (!rows.empty())
    page.tables.push_back(
        {"Before and after", report.shown_metrics.empty() ? "Losses in nats a token." : "", header, rows});
  page.tables.insert(page.tables.end(), report.tables.begin(), report.tables.end());
  const std::string unit = report.shown_metrics.empty() || report.unit != "token" ? "nats a " + report.unit : "loss";
  eval::Chart losses{"Loss", "step", unit, {metrics.loss}};
  losses.curves.insert(losses.curves.end(), metrics.evaluations.begin(), metrics.evaluations.end());
  page.charts = {losses, {"Learning rate", "step", "", {metrics.rate}}};
  const auto validation = std::find_if(metrics.evaluations.begin(), metrics.evaluations.end(),
                                       [](const auto& c) { return c.name == "validation"; });
  if (validation != metrics.evaluations.end()) {
    const eval::Curve gaps = gap(metrics.loss, *validation);
    page.charts.push_back({"Gap between validation and training", "step", unit, {gaps}});
    page.tables.push_back(gap_table(*validation, gaps));
  }
  page.tables.push_back(data_table(report));
  if (report.samples) page.samples = report.samples();
  page.masks = report.masks;
  return eval::report_html(page);
}

}  // namespace lowrank::recipes
