#include "lowrank/train/study/distributions.h"

#include <algorithm>
#include <cmath>

#include "lowrank/core/json_text.h"

namespace lowrank::train {
namespace {

using core::Json;

/// Optuna's choices are texts, numbers, truth values and null.
Json plain(const Json& choice) {
  if (!choice.is_array()) return choice;
  std::string text;
  for (const Json& part : choice)
    text += (text.empty() ? "" : ",") + (part.is_string() ? part.get<std::string>() : core::json_text(part));
  return text;
}

std::optional<Json> in_range(const Dimension& d, double number) {
  if (!(number >= d.low && number <= d.high)) return std::nullopt;
  if (!d.integer) return Json(number);
  if (number != std::floor(number)) return std::nullopt;
  return Json(static_cast<std::int64_t>(number));
}

}  // namespace

Json distribution_of(const Dimension& d) {
  if (d.scale == Dimension::Scale::kChoice) {
    Json choices = Json::array();
    for (const Json& choice : d.choices) choices.push_back(plain(choice));
    return {{"name", "CategoricalDistribution"}, {"attributes", {{"choices", choices}}}};
  }
  const bool log = d.scale == Dimension::Scale::kLog;
  if (d.integer) {
    return {{"name", "IntDistribution"},
            {"attributes",
             {{"log", log},
              {"step", 1},
              {"low", static_cast<std::int64_t>(d.low)},
              {"high", static_cast<std::int64_t>(d.high)}}}};
  }
  return {{"name", "FloatDistribution"},
          {"attributes", {{"step", nullptr}, {"low", d.low}, {"high", d.high}, {"log", log}}}};
}

double number_of(const Dimension& d, const Json& value) {
  if (d.scale != Dimension::Scale::kChoice) return value.get<double>();
  return static_cast<double>(std::find(d.choices.begin(), d.choices.end(), value) - d.choices.begin());
}

std::optional<Json> value_of_number(const Dimension& d, double number, const Json& distribution) {
  if (d.scale != Dimension::Scale::kChoice) return in_range(d, number);
  const Json::json_pointer place("/attributes/choices");
  if (!distribution.is_object() || !distribution.contains(place)) return std::nullopt;
  const Json& choices = distribution[place];
  if (!choices.is_array() || !(number >= 0 && number < static_cast<double>(choices.size()))) return std::nullopt;
  return value_of_words(d, choices[static_cast<std::size_t>(number)]);
}

std::optional<Json> value_of_words(const Dimension& d, const Json& written) {
  if (d.scale != Dimension::Scale::kChoice)
    return written.is_number() ? in_range(d, written.get<double>()) : std::nullopt;
  for (const Json& choice : d.choices)
    if (plain(choice) == written) return choice;
  return std::nullopt;
}

}  // namespace lowrank::train
