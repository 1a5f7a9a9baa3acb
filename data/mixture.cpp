#include "lowrank/data/mixture.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"

namespace lowrank::data {

WeightedPath weighted_path(const std::filesystem::path& text) {
  const std::string whole = text.string();
  const std::size_t star = whole.rfind('*');
  std::error_code ignored;
  if (star == whole.npos || star == 0 || std::filesystem::exists(text, ignored)) return {text, 1};
  double weight = 0;
  const char* const end = whole.data() + whole.size();
  const auto [stop, error] = std::from_chars(whole.data() + star + 1, end, weight);
  if (error != std::errc() || stop != end || star + 1 == whole.size()) {
    if (!std::filesystem::exists(whole.substr(0, star), ignored)) return {text, 1};
    throw ConfigError("`data`: behind the * in '" + core::printable(whole, 200) +
                      "' stands no number that a weight can be; write PATH*0.3");
  }
  if (!(weight > 0) || weight > 1000) {
    throw ConfigError("`data`: the weight in '" + core::printable(whole, 200) +
                      "' is how often an epoch takes the examples, above 0 and at most 1000");
  }
  return {whole.substr(0, star), weight};
}

std::vector<double> tempered(const std::vector<double>& weights, const std::vector<std::int64_t>& sizes,
                             double temperature) {
  if (temperature == 1) return weights;
  double all = 0, all_tempered = 0;
  std::vector<double> result(weights.size(), 1);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double size = weights[i] * static_cast<double>(sizes[i]);
    result[i] = size > 0 ? std::pow(size, 1 / temperature) : 0;
    all += size;
    all_tempered += result[i];
  }
  for (std::size_t i = 0; i < weights.size(); ++i) {
    result[i] = sizes[i] == 0 ? 1 : result[i] / all_tempered * all / static_cast<double>(sizes[i]);
  }
  return result;
}

std::vector<std::int64_t> source_sizes(const Dataset& all, std::size_t sources) {
  std::vector<std::int64_t> sizes(sources, 0);
  for (std::size_t i = 0; i < all.examples.size(); ++i) ++sizes.at(all.documents[all.examples.document(i)].source);
  return sizes;
}

std::string mixture_note(const std::vector<std::filesystem::path>& paths, const std::vector<double>& weights) {
  if (std::all_of(weights.begin(), weights.end(), [](double w) { return w == 1; })) return "";
  std::string note = "each epoch takes the examples of ";
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::string times = weights[i] == 1   ? "once"
                              : weights[i] == 2 ? "twice"
                                                : fmt::format("{:.4g} times", weights[i]);
    note += (i == 0 ? "" : ", of ") + core::printable(paths[i].string(), 200) + " " + times;
  }
  return note + "; a part of a source is other examples every time, until all were taken";
}

void mix(Dataset& all, const std::vector<std::filesystem::path>& paths, const std::vector<Source>& sources,
         double temperature) {
  std::vector<double> weights(paths.size(), 1);
  for (const Source& source : sources) weights[source.given] = source.weight;
  if (temperature == 1 && std::all_of(weights.begin(), weights.end(), [](double w) { return w == 1; })) return;
  weights = tempered(weights, source_sizes(all, paths.size()), temperature);
  std::vector<std::filesystem::path> names;
  for (const std::filesystem::path& path : paths) names.push_back(weighted_path(path).path);
  const std::string note = mixture_note(names, weights);
  if (note.empty()) return;
  all.report.notes.push_back(note);
  std::string hashed = all.report.sha256;
  for (const double weight : weights) hashed += fmt::format(" {}", weight);
  all.report.sha256 = core::sha256(hashed);
  all.weights = std::move(weights);
}

void weigh(PlanOptions& plan, const Dataset& train, std::uint32_t each) {
  plan.weights = train.weights;
  plan.sources.clear();
  if (train.weights.empty()) return;
  for (std::size_t i = 0; i + each <= train.examples.size(); i += each) {
    plan.sources.push_back(train.documents[train.examples.document(i)].source);
  }
}

}  // namespace lowrank::data
