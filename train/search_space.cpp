#include "lowrank/train/search_space.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/number.h"
#include "lowrank/core/text.h"

namespace lowrank::train {
namespace {

constexpr std::size_t kMostCombinations = 1'000'000;

bool contains(const std::vector<core::Json>& values, const core::Json& value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

void check(const Dimension& d, const std::string& where) {
  const auto fail = [&](const std::string& problem) {
    throw ConfigError(fmt::format("{}: {}: {}", where, d.name, problem));
  };
  if (d.scale == Dimension::Scale::kChoice) {
    if (d.choices.empty()) fail("choice needs at least one value");
    for (std::size_t i = 0; i < d.choices.size(); ++i) {
      if (std::find(d.choices.begin(), d.choices.begin() + static_cast<std::ptrdiff_t>(i), d.choices[i]) !=
          d.choices.begin() + static_cast<std::ptrdiff_t>(i)) {
        fail(fmt::format("{} stands there twice", core::json_text(d.choices[i])));
      }
    }
    return;
  }
  if (!(d.low < d.high)) fail(fmt::format("expected [low, high] with low < high, found [{}, {}]", d.low, d.high));
  if (d.scale == Dimension::Scale::kLog && d.low <= 0)
    fail(fmt::format("a log scale begins above 0, found {}; use uniform, or a small number", d.low));
  if (!std::isfinite(d.high - d.low)) fail(fmt::format("[{}, {}] is too wide to be searched", d.low, d.high));
  if (d.integer && std::max(std::abs(d.low), std::abs(d.high)) > 0x1p53)
    fail(fmt::format("[{}, {}] goes beyond the whole numbers that are told apart, 2^53", d.low, d.high));
  if (d.points == 1 || d.points < 0) fail("points must be 2 or more, for both ends are taken");
  if (d.points > static_cast<std::int64_t>(kMostCombinations))
    fail(fmt::format("{} points; a grid has at most {} combinations", core::format_count(d.points),
                     core::format_count(kMostCombinations)));
}

void check_condition(const Dimension& d, const std::vector<Dimension>& all, const std::string& where) {
  if (!d.when) return;
  const auto& [parent_name, values] = *d.when;
  const auto parent =
      std::find_if(all.begin(), all.end(), [&](const Dimension& other) { return other.name == parent_name; });
  std::vector<std::string> names;
  for (const Dimension& other : all) names.push_back(other.name);
  if (parent == all.end())
    throw ConfigError(fmt::format("{}: {}: 'when' names '{}', which is not in the space{}", where, d.name, parent_name,
                                  core::did_you_mean(parent_name, names)));
  if (parent->scale != Dimension::Scale::kChoice)
    throw ConfigError(fmt::format("{}: {}: 'when' needs a choice, but {} is a range", where, d.name, parent_name));
  if (values.empty()) throw ConfigError(fmt::format("{}: {}: 'when' lists no value of {}", where, d.name, parent_name));
  for (const core::Json& value : values) {
    if (contains(parent->choices, value)) continue;
    std::vector<std::string> candidates;
    for (const core::Json& choice : parent->choices) candidates.push_back(core::json_text(choice));
    throw ConfigError(fmt::format("{}: {}: 'when' asks for {} = {}, which is none of its choices{}", where, d.name,
                                  parent_name, core::json_text(value), core::did_you_mean(core::json_text(value), candidates)));
  }
}

void extend_grid(const std::vector<Dimension>& dimensions, std::size_t next, Assignment& current,
                 std::vector<Assignment>& all, const std::string& where) {
  if (next == dimensions.size()) {
    if (all.size() == kMostCombinations)
      throw ConfigError(
          fmt::format("{}: the grid has more than {} combinations; leave values out, or use `sampler` random or tpe",
                      where, core::format_count(kMostCombinations)));
    all.push_back(current);
    return;
  }
  const Dimension& d = dimensions[next];
  if (!SearchSpace::active(d, current)) return extend_grid(dimensions, next + 1, current, all, where);
  std::vector<core::Json> values = d.choices;
  if (d.scale != Dimension::Scale::kChoice) {
    if (d.points == 0)
      throw ConfigError(
          fmt::format("{}: {}: a grid over a range needs the number of points, such as {{log: [{}, {}], points: 5}}",
                      where, d.name, d.low, d.high));
    for (std::int64_t i = 0; i < d.points; ++i) {
      const double place = static_cast<double>(i) / static_cast<double>(d.points - 1);
      core::Json value = SearchSpace::value_at(d, place);
      if (values.empty() || values.back() != value) values.push_back(std::move(value));  // integers may coincide
    }
  }
  for (const core::Json& value : values) {
    current.emplace_back(d.name, value);
    extend_grid(dimensions, next + 1, current, all, where);
    current.pop_back();
  }
}

}  // namespace

SearchSpace::SearchSpace(std::vector<Dimension> dimensions, const std::string& where) : where_(where) {
  if (dimensions.empty()) throw ConfigError(where + ": the space is empty; name options with what they may be");
  for (std::size_t i = 0; i < dimensions.size(); ++i) {
    check(dimensions[i], where);
    check_condition(dimensions[i], dimensions, where);
    for (std::size_t j = 0; j < i; ++j)
      if (dimensions[j].name == dimensions[i].name)
        throw ConfigError(fmt::format("{}: '{}' stands there twice", where, dimensions[i].name));
  }
  // Rounds over what is left; a round that places nothing has found a circle.
  while (!dimensions.empty()) {
    const std::size_t before = dimensions.size();
    for (auto it = dimensions.begin(); it != dimensions.end();) {
      const bool ready = !it->when || std::any_of(dimensions_.begin(), dimensions_.end(), [&](const Dimension& placed) {
        return placed.name == it->when->first;
      });
      if (!ready) {
        ++it;
        continue;
      }
      dimensions_.push_back(std::move(*it));
      it = dimensions.erase(it);
    }
    if (dimensions.size() == before)
      throw ConfigError(fmt::format("{}: the conditions of {} and {} lead in a circle", where, dimensions.front().name,
                                    dimensions.front().when->first));
  }
}

bool SearchSpace::active(const Dimension& dimension, const Assignment& before) {
  if (!dimension.when) return true;
  const core::Json* const parent = value_of(before, dimension.when->first);
  return parent != nullptr && contains(dimension.when->second, *parent);
}

core::Json SearchSpace::value_at(const Dimension& d, double place) {
  if (d.scale == Dimension::Scale::kChoice) {
    const auto count = d.choices.size();
    return d.choices[std::min(count - 1, static_cast<std::size_t>(place * static_cast<double>(count)))];
  }
  double value = 0;
  if (d.scale == Dimension::Scale::kLog) {
    value = std::exp(std::log(d.low) + place * (std::log(d.high) - std::log(d.low)));
  } else {
    value = d.low + place * (d.high - d.low);
  }
  value = std::clamp(value, d.low, d.high);
  if (d.integer) return static_cast<std::int64_t>(std::clamp(std::round(value), std::ceil(d.low), std::floor(d.high)));
  // Six digits: as a person would write them into the command that runs the trial again.
  return core::read_double(fmt::format("{:.6g}", value));
}

std::vector<Assignment> SearchSpace::grid() const {
  std::vector<Assignment> all;
  Assignment current;
  extend_grid(dimensions_, 0, current, all, where_);
  return all;
}

const core::Json* value_of(const Assignment& assignment, const std::string& name) {
  for (const auto& [key, value] : assignment)
    if (key == name) return &value;
  return nullptr;
}

}  // namespace lowrank::train
