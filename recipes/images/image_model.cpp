#include "lowrank/recipes/images/image_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/table.h"
#include "lowrank/core/text.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;
using core::Json;

constexpr const char* kLabels = "labels.json";
constexpr std::size_t kMatrix = 20;  // classes that a matrix on screen has at most
constexpr std::size_t kPairs = 10;

}  // namespace

ImageModel open_image_model(const std::string& model) {
  models::Resolved resolved = models::resolve(model);
  models::ResNet network = models::ResNet::load(resolved.model);
  data::ImageProcessor processor = data::read_image_processor(resolved.model, network.config().num_channels);
  return {std::move(resolved), std::move(network), std::move(processor)};
}

void write_labels(const fs::path& directory, const std::vector<std::string>& labels) {
  core::write_file(directory / kLabels, core::json_text(Json({{"labels", labels}}), 2) + "\n");
}

std::optional<std::vector<std::string>> read_labels(const fs::path& directory) {
  const fs::path file = directory / kLabels;
  if (!fs::exists(file)) return std::nullopt;
  const Json json = core::read_json(file);
  const core::JsonView view(json, file.string());
  for (const std::string& key : view.keys())
    if (key != "labels")
      view.fail(fmt::format("unknown key '{}'{}", core::printable(key), core::did_you_mean(key, {"labels"})));
  std::vector<std::string> labels = view.at("labels").as_strings();
  if (labels.empty()) view.at("labels").fail("expected the names of the classes, found none");
  return labels;
}

std::int64_t parameter_count(models::ResNet& network) {
  std::int64_t count = 0;
  for (const lora::NamedTensor& parameter : network.named_parameters()) count += parameter.tensor.numel();
  return count;
}

Json scores_json(const eval::Classification& scores, const std::vector<std::string>& labels) {
  Json classes = Json::object();
  for (std::size_t k = 0; k < labels.size(); ++k) {
    const eval::ClassScore& one = scores.classes[k];
    classes[labels[k]] = {
        {"precision", one.precision}, {"recall", one.recall}, {"f1", one.f1}, {"support", one.support}};
  }
  return {{"accuracy", scores.accuracy},   {"macro_f1", scores.macro_f1},
          {"matthews", scores.matthews},   {"labels", labels},
          {"confusion", scores.confusion}, {"classes", classes}};
}

std::string confusion_text(const eval::Classification& scores, const std::vector<std::string>& labels) {
  std::vector<std::vector<std::string>> rows;
  const auto name = [&](std::size_t k) { return core::printable(labels[k], 20); };
  if (labels.size() <= kMatrix) {
    std::vector<std::string> header = {"is / taken for"};
    for (std::size_t k = 0; k < labels.size(); ++k) header.push_back(name(k));
    for (std::size_t truth = 0; truth < labels.size(); ++truth) {
      rows.push_back({name(truth)});
      for (const std::int64_t count : scores.confusion[truth]) rows.back().push_back(core::format_count(count));
    }
    return core::table(header, rows);
  }
  std::vector<std::tuple<std::int64_t, std::size_t, std::size_t>> pairs;
  for (std::size_t i = 0; i < labels.size(); ++i)
    for (std::size_t j = 0; j < labels.size(); ++j)
      if (i != j && scores.confusion[i][j] > 0) pairs.emplace_back(-scores.confusion[i][j], i, j);
  std::sort(pairs.begin(), pairs.end());
  for (std::size_t p = 0; p < std::min(kPairs, pairs.size()); ++p) {
    const auto [count, truth, taken] = pairs[p];
    rows.push_back({name(truth), name(taken), core::format_count(-count)});
  }
  return rows.empty() ? "" : core::table({"most confused: is", "taken for", "times"}, rows);
}

}  // namespace lowrank::recipes
