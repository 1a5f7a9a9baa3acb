// Sources that count for more or less than once: weights, and how a plan takes examples by them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/data/dataset.h"
#include "lowrank/data/plan.h"
#include "lowrank/data/sources.h"

namespace lowrank::data {

/// "wiki.jsonl*0.3": a path, and how often an epoch takes its examples.
struct WeightedPath {
  std::filesystem::path path;
  double weight = 1;
};
/// A file that is called so goes before a weight. ConfigError for a weight that is not above 0 or above 1,000.
WeightedPath weighted_path(const std::filesystem::path& text);

/// Each weight times the size, to the power of 1/temperature; what an epoch takes in all stays the same. Sizes are
/// examples. At 1 the weights stay as they are, from there on small sources count for more.
std::vector<double> tempered(const std::vector<double>& weights, const std::vector<std::int64_t>& sizes,
                             double temperature);

/// Examples of each of `sources` sources.
std::vector<std::int64_t> source_sizes(const Dataset& all, std::size_t sources);

/// In words, where a weight is not 1: "each epoch takes the examples of wiki.jsonl 0.3 times, of chat.jsonl twice".
std::string mixture_note(const std::vector<std::filesystem::path>& paths, const std::vector<double>& weights);

/// The weights of the paths into `all`, where one is not 1: said, and part of its hash.
void mix(Dataset& all, const std::vector<std::filesystem::path>& paths, const std::vector<Source>& sources,
         double temperature);

/// The plan takes the items (`each` examples of `train`) by the weights of their sources, where it has any.
void weigh(PlanOptions& plan, const Dataset& train, std::uint32_t each = 1);

}  // namespace lowrank::data
