#include "lowrank/recipes/search/sweep_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowrank/core/json_text.h"
#include "lowrank/eval/report.h"
#include "lowrank/recipes/search/sweep_trials.h"
#include "lowrank/train/importance.h"

namespace lowrank::recipes {

namespace {

using core::Json;
using train::Dimension;
using train::Trial;

std::string word(const Json& value) { return value.is_string() ? value.get<std::string>() : core::json_text(value); }

eval::Chart best_so_far(const std::vector<Trial>& trials) {
  eval::Curve all{"a trial", {}, true, false}, best{"best so far", {}};
  for (const Trial& trial : trials) {
    const auto number = static_cast<double>(trial.number);
    if (trial.value) all.points.emplace_back(number, *trial.value);
    if (trial.state != Trial::State::kComplete) continue;
    if (!best.points.empty() && best.points.back().second <= *trial.value) continue;
    if (!best.points.empty()) best.points.emplace_back(number, best.points.back().second);  // a step, not a slope
    best.points.emplace_back(number, *trial.value);
  }
  if (!best.points.empty())
    best.points.emplace_back(static_cast<double>(trials.back().number), best.points.back().second);
  return {"Best so far", "trial", "validation loss, nats a token", {best, all}};
}

/// Where a value lies along its dimension, from 0 to 1.
double place_of(const Dimension& dimension, const Json& value) {
  if (dimension.scale == Dimension::Scale::kChoice) {
    const auto at = std::find(dimension.choices.begin(), dimension.choices.end(), value) - dimension.choices.begin();
    const auto last = static_cast<double>(dimension.choices.size()) - 1;
    return last > 0 ? static_cast<double>(at) / last : 0.5;
  }
  const double x = value.get<double>();
  if (dimension.scale == Dimension::Scale::kLog)
    return std::log(x / dimension.low) / std::log(dimension.high / dimension.low);
  return (x - dimension.low) / (dimension.high - dimension.low);
}

std::vector<std::pair<double, std::string>> ticks_of(const Dimension& dimension) {
  std::vector<std::pair<double, std::string>> ticks;
  if (dimension.scale == Dimension::Scale::kChoice) {
    for (const Json& value : dimension.choices) ticks.emplace_back(place_of(dimension, value), word(value));
    return ticks;
  }
  for (const double place : {0.0, 0.5, 1.0}) {
    const double value = dimension.scale == Dimension::Scale::kLog
                             ? dimension.low * std::pow(dimension.high / dimension.low, place)
                             : dimension.low + place * (dimension.high - dimension.low);
    ticks.emplace_back(place, fmt::format("{:.2g}", value));
  }
  return ticks;
}

eval::ParallelChart parallel(const train::SearchSpace& space, const std::vector<Trial>& trials) {
  eval::ParallelChart chart{"Options and what came of them",
                            "A line is a trial; where it is interrupted the trial has no such option.",
                            {},
                            {}};
  for (const Dimension& dimension : space.dimensions())
    chart.axes.push_back(
        {dimension.name + (dimension.scale == Dimension::Scale::kLog ? " (log)" : ""), ticks_of(dimension)});
  double low = INFINITY, high = -INFINITY;
  for (const Trial& trial : trials) {
    if (!trial.value) continue;
    low = std::min(low, *trial.value);
    high = std::max(high, *trial.value);
  }
  const bool spread = high > low;
  if (spread)
    chart.axes.push_back({"validation loss", {{0, fmt::format("{:.4f}", low)}, {1, fmt::format("{:.4f}", high)}}});
  for (const Trial& trial : trials) {
    eval::ParallelChart::Run run{{}, trial.value};
    for (const Dimension& dimension : space.dimensions()) {
      const Json* value = train::value_of(trial.options, dimension.name);
      run.places.push_back(value == nullptr ? std::nullopt : std::optional(place_of(dimension, *value)));
    }
    if (spread) run.places.push_back(trial.value ? std::optional((*trial.value - low) / (high - low)) : std::nullopt);
    chart.runs.push_back(std::move(run));
  }
  return chart;
}

eval::ReportTable importance_table(const train::SearchSpace& space, const std::vector<Trial>& trials) {
  const auto shares = train::importance(space, trials);
  std::vector<std::size_t> order(shares.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return shares[a].value_or(-1) > shares[b].value_or(-1); });
  eval::ReportTable table{
      "Importance",
      "The share of the variance of the trials' ranks that each option explains by itself: a one-way analysis of "
      "variance on ranks (Kruskal and Wallis 1952), as ε² (Kelley 1935), which is 0 by chance; ranges in up to five "
      "groups. \"-\": too few trials. A sampler that seeks good trials tries less of what is bad, which makes shares "
      "smaller.",
      {"option", "explains"},
      {}};
  for (const std::size_t i : order)
    table.rows.push_back({space.dimensions()[i].name, shares[i] ? fmt::format("{:.0f} %", 100 * *shares[i]) : "-"});
  return table;
}

eval::ReportTable trial_table(const train::SearchSpace& space, const std::vector<Trial>& trials) {
  eval::ReportTable table{
      "Trials",
      "Best first; losses in nats a token on validation, of a pruned trial the best until it ended.",
      {"trial", "state", "steps", "loss"},
      {}};
  for (const Dimension& dimension : space.dimensions()) table.header.push_back(dimension.name);
  std::vector<const Trial*> order;
  for (const Trial& trial : trials) order.push_back(&trial);
  const auto key = [](const Trial& t) { return std::pair(static_cast<int>(t.state), t.value.value_or(INFINITY)); };
  std::stable_sort(order.begin(), order.end(), [&](const Trial* a, const Trial* b) { return key(*a) < key(*b); });
  for (const Trial* trial : order) {
    const Json json = to_json(*trial);
    std::vector<std::string>& row = table.rows.emplace_back();
    row = {std::to_string(trial->number), json["state"].get<std::string>(), std::to_string(trial->steps),
           trial->value ? fmt::format("{:.4f}", *trial->value) : "-"};
    for (const Dimension& dimension : space.dimensions()) {
      const Json* value = train::value_of(trial->options, dimension.name);
      row.push_back(value == nullptr ? "" : word(*value));
    }
  }
  return table;
}

}  // namespace

std::string sweep_page(const train::SearchSpace& space, const std::vector<Trial>& trials,
                       const std::vector<std::pair<std::string, std::string>>& facts, const std::string& command) {
  eval::Report page;
  page.title = "Sweep";
  page.subtitle = command;
  page.facts = facts;
  page.tables = {importance_table(space, trials), trial_table(space, trials)};
  page.charts = {best_so_far(trials)};
  page.parallels = {parallel(space, trials)};
  return eval::report_html(page);
}

}  // namespace lowrank::recipes
