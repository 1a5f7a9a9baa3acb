#include "lowrank/recipes/evaluation/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowrank/core/number.h"
#include "lowrank/core/text.h"

namespace lowrank::recipes {

namespace {

using core::Json;

/// Intervals of each model's score, and of its difference from the first model's.
struct Intervals {
  std::optional<eval::Interval> own, difference;
};

std::vector<Intervals> intervals(const std::vector<std::vector<eval::Statistics>>& units, const eval::Score& score,
                                 std::uint64_t seed) {
  std::vector<Intervals> result(units.size());
  const std::size_t n = units.front().size();
  if (n < 2) return result;
  const auto scores = eval::resampled_scores(units, score, eval::counted_draw(seed, static_cast<std::uint32_t>(n)));
  for (std::size_t m = 0; m < units.size(); ++m) {
    result[m].own = eval::percentile_interval(scores[m]);
    if (m == 0) continue;
    std::vector<double> differences;
    for (std::size_t r = 0; r < scores[m].size(); ++r) differences.push_back(scores[m][r] - scores[0][r]);
    result[m].difference = eval::percentile_interval(std::move(differences));
  }
  return result;
}

Json to_json(const std::optional<eval::Interval>& interval) {
  return interval ? Json::array({interval->low, interval->high}) : Json(nullptr);
}

std::string shown(const std::optional<eval::Interval>& interval, int digits, double scale = 1) {
  if (!interval) return "-";
  return fmt::format("{:.{}f} to {:.{}f}", scale * interval->low, digits, scale * interval->high, digits);
}

/// A change of nll as a change of perplexity in per cent.
std::string shown_change(const TextResult& result) {
  const auto percent = [](double nats) { return 100 * std::expm1(nats); };
  std::string text = core::format_change(percent(result.difference)) + " %";
  if (const auto& i = result.difference_interval)
    text += fmt::format(" ({} to {})", core::format_change(percent(i->low)), core::format_change(percent(i->high)));
  return text;
}

const TextSetResult* clean_of(const Comparison& comparison, const TextSetResult& set) {
  if (set.clean.empty()) return nullptr;
  for (const TextSetResult& other : comparison.texts) {
    if (other.name == set.clean) return &other;
  }
  return nullptr;
}

/// Shares as per cent, other scores as they are.
bool is_share(const std::string& score) { return score != "chrf" && score != "bleu" && score != "rouge_l"; }

eval::ReportTable model_table(const Comparison& comparison) {
  eval::ReportTable table{"Models", "", {"model", "trainable parameters", "bytes"}, {}};
  for (const ComparedModel& model : comparison.models) {
    table.rows.push_back({model.name, core::format_count(model.trainable), core::format_bytes(model.bytes)});
  }
  return table;
}

eval::ReportTable text_table(const Comparison& comparison) {
  eval::ReportTable table{
      "Texts",
      "",
      {"set", "model", "tokens", "nll", "perplexity", "95 %", "perplexity against base", "KL from base"},
      {}};
  table.note =
      "nll: nats a token; 95 %: paired bootstrap over documents, or over pieces where there are fewer than 20; KL: of "
      "the "
      "base's predictions from the model's, nats a token";
  const bool perturbed =
      std::any_of(comparison.texts.begin(), comparison.texts.end(), [](const auto& set) { return !set.clean.empty(); });
  if (perturbed) {
    table.header.emplace_back("cost of the changes");
    table.note += "; cost of the changes: all nats of the perturbed copy against those of the text as it was";
  }
  for (const TextSetResult& set : comparison.texts) {
    const TextSetResult* clean = clean_of(comparison, set);
    for (std::size_t m = 0; m < set.models.size(); ++m) {
      const TextResult& r = set.models[m];
      table.rows.push_back({m == 0 ? set.name : "", comparison.models[m].name, core::format_count(r.tokens),
                            fmt::format("{:.4f}", r.nll), fmt::format("{:.2f}", std::exp(r.nll)),
                            shown(r.perplexity, 2), m == 0 ? "" : shown_change(r),
                            m == 0 ? "" : fmt::format("{:.4f}", r.kl)});
      if (perturbed)
        table.rows.back().push_back(clean == nullptr ? ""
                                                     : core::format_change(100 * added_cost(r, clean->models[m])) + " %");
    }
  }
  return table;
}

eval::ReportTable question_table(const Comparison& comparison) {
  eval::ReportTable table{
      "Questions", "", {"set", "model", "questions", "score", "value", "95 %", "against base", "95 %"}, {}};
  table.note =
      "accuracy of choices: by log-likelihood a character; unnormalised: by the whole log-likelihood; scores of texts: "
      "0 to 100";
  for (const QuestionSetResult& set : comparison.questions) {
    bool first = true;
    for (std::size_t s = 0; s < set.models.front().size(); ++s) {
      for (std::size_t m = 0; m < set.models.size(); ++m) {
        const ScoreResult& r = set.models[m][s];
        const double scale = is_share(r.name) ? 100 : 1;
        table.rows.push_back({first ? set.name : "", comparison.models[m].name, core::format_count(set.questions),
                              r.name, fmt::format("{:.1f}{}", scale * r.value, is_share(r.name) ? " %" : ""),
                              shown(r.interval, 1, scale), m == 0 ? "" : core::format_change(scale * r.difference),
                              m == 0 ? "" : shown(r.difference_interval, 1, scale)});
        first = false;
      }
    }
  }
  return table;
}

}  // namespace

std::vector<TextResult> text_results(const std::vector<std::vector<eval::UnitLoss>>& losses, std::uint64_t seed) {
  const eval::Score mean = [](const eval::Statistics& sums) { return sums[0] / sums[1]; };
  std::vector<TextResult> results;
  std::vector<std::vector<eval::Statistics>> units;
  for (const auto& model : losses) {
    TextResult result;
    double nll = 0, kl = 0;
    std::vector<eval::Statistics> nats;
    for (const eval::UnitLoss& unit : model) {
      result.tokens += unit.tokens;
      nll += unit.nll;
      kl += unit.kl;
      if (unit.tokens > 0) nats.push_back({unit.nll, static_cast<double>(unit.tokens)});
    }
    result.nll = nll / static_cast<double>(result.tokens);
    result.kl = kl / static_cast<double>(result.tokens);
    result.difference = results.empty() ? 0 : result.nll - results.front().nll;
    results.push_back(result);
    units.push_back(std::move(nats));
  }
  const std::vector<Intervals> found = intervals(units, mean, seed);
  for (std::size_t m = 0; m < results.size(); ++m) {
    if (const auto& own = found[m].own) results[m].perplexity = eval::Interval{std::exp(own->low), std::exp(own->high)};
    results[m].difference_interval = found[m].difference;
  }
  return results;
}

std::vector<std::vector<ScoreResult>> score_results(const std::vector<std::vector<eval::QuestionScore>>& scores,
                                                    std::uint64_t seed) {
  std::vector<std::vector<ScoreResult>> results(scores.size());
  for (std::size_t s = 0; s < scores.front().size(); ++s) {
    std::vector<std::vector<eval::Statistics>> units;
    for (const auto& model : scores) units.push_back(model[s].units);
    const eval::Score& score = scores.front()[s].score;
    const std::vector<Intervals> found = intervals(units, score, seed);
    for (std::size_t m = 0; m < scores.size(); ++m) {
      const double value = score(eval::total(units[m]));
      const double base = m == 0 ? value : results[0][s].value;
      results[m].push_back({scores[m][s].name, value, found[m].own, value - base, found[m].difference});
    }
  }
  return results;
}

double added_cost(const TextResult& perturbed, const TextResult& clean) {
  return perturbed.nll * static_cast<double>(perturbed.tokens) / (clean.nll * static_cast<double>(clean.tokens)) - 1;
}

Json to_json(const Comparison& comparison) {
  Json json;
  json["models"] = Json::object();
  for (std::size_t m = 0; m < comparison.models.size(); ++m) {
    const ComparedModel& model = comparison.models[m];
    Json& entry = json["models"][model.name];
    entry = {{"trainable", model.trainable}, {"bytes", model.bytes}, {"sets", Json::object()}};
    for (const TextSetResult& set : comparison.texts) {
      const TextResult& r = set.models[m];
      Json& one = entry["sets"][set.name];
      one = {{"tokens", r.tokens},
             {"nll", r.nll},
             {"perplexity", std::exp(r.nll)},
             {"ci", to_json(r.perplexity)},
             {"kl", r.kl}};
      if (m > 0) one["against_base"] = {{"nll", r.difference}, {"ci", to_json(r.difference_interval)}};
      if (const TextSetResult* clean = clean_of(comparison, set)) one["added_cost"] = added_cost(r, clean->models[m]);
    }
    if (comparison.questions.empty()) continue;
    entry["questions"] = Json::object();
    for (const QuestionSetResult& set : comparison.questions) {
      Json& one = entry["questions"][set.name];
      one = {{"questions", set.questions}};
      for (const ScoreResult& r : set.models[m]) {
        one[r.name] = {{"value", r.value}, {"ci", to_json(r.interval)}};
        if (m > 0) one[r.name]["against_base"] = {{"value", r.difference}, {"ci", to_json(r.difference_interval)}};
      }
    }
  }
  return json;
}

std::vector<eval::ReportTable> tables(const Comparison& comparison) {
  std::vector<eval::ReportTable> all = {model_table(comparison)};
  if (!comparison.texts.empty()) all.push_back(text_table(comparison));
  if (!comparison.questions.empty()) all.push_back(question_table(comparison));
  return all;
}

}  // namespace lowrank::recipes
