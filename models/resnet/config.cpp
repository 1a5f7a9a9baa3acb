#include "lowrank/models/resnet/config.h"

#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kMaxWidth = 1 << 16, kMaxDepth = 1024, kMaxLabels = 1 << 20;

std::vector<std::int64_t> numbers(const core::JsonView& json, const char* key, std::vector<std::int64_t> fallback,
                                  std::int64_t most) {
  if (!json.has_value(key)) return fallback;
  const core::JsonView value = json.at(key);
  if (!value.is_array() || value.size() == 0) value.fail("expected a list of numbers, one a stage");
  std::vector<std::int64_t> result;
  for (std::size_t i = 0; i < value.size(); ++i) result.push_back(value.at(i).as_int(1, most));
  return result;
}

std::vector<std::string> read_labels(const core::JsonView& json) {
  std::vector<std::string> labels;
  if (!json.has_value("id2label")) {
    const std::int64_t count = json.get_int("num_labels", 2, 1, kMaxLabels);  // PreTrainedConfig's default is 2
    for (std::int64_t i = 0; i < count; ++i) labels.push_back(fmt::format("LABEL_{}", i));
    return labels;
  }
  const core::JsonView map = json.at("id2label");
  if (!map.is_object() || map.keys().empty()) map.fail("expected an object from class numbers to names");
  for (std::size_t i = 0; i < map.keys().size(); ++i) {
    const std::string id = std::to_string(i);
    if (!map.has_value(id))
      map.fail(fmt::format("the class {} is missing; {} classes count from 0", id, map.keys().size()));
    labels.push_back(map.at(id).as_string());
  }
  return labels;
}

}  // namespace

ResNetConfig parse_resnet_config(const core::JsonView& json) {
  if (!json.is_object()) json.fail("must be an object");
  const std::string type = json.at("model_type").as_string();
  if (type != "resnet")
    throw ModelError(fmt::format("{}: model_type is '{}'; the image models that are supported are 'resnet'",
                                 json.where(), core::printable(type)));
  ResNetConfig config;
  config.num_channels = json.get_int("num_channels", config.num_channels, 1, kMaxWidth);
  config.embedding_size = json.get_int("embedding_size", config.embedding_size, 1, kMaxWidth);
  config.hidden_sizes = numbers(json, "hidden_sizes", config.hidden_sizes, kMaxWidth);
  config.depths = numbers(json, "depths", config.depths, kMaxDepth);
  if (config.hidden_sizes.size() != config.depths.size())
    json.fail(
        fmt::format("hidden_sizes has {} stages and depths {}", config.hidden_sizes.size(), config.depths.size()));
  const std::string layer = json.get_string("layer_type", "bottleneck");
  if (layer != "basic" && layer != "bottleneck")
    json.at("layer_type").fail(fmt::format("expected 'basic' or 'bottleneck', found '{}'", core::printable(layer)));
  config.bottleneck = layer == "bottleneck";
  const std::string activation = json.get_string("hidden_act", "relu");
  if (activation != "relu")
    throw ModelError(
        fmt::format("{}: hidden_act is '{}'; only 'relu' is supported", json.where(), core::printable(activation)));
  config.downsample_in_first_stage = json.get_bool("downsample_in_first_stage", false);
  config.downsample_in_bottleneck = json.get_bool("downsample_in_bottleneck", false);
  config.labels = read_labels(json);
  return config;
}

std::string resnet_config_json(const ResNetConfig& config) {
  core::Json json = core::Json::object(), names = core::Json::object(), ids = core::Json::object();
  for (std::size_t i = 0; i < config.labels.size(); ++i) {
    names[std::to_string(i)] = config.labels[i];
    ids[config.labels[i]] = i;
  }
  json["architectures"] = {"ResNetForImageClassification"};
  json["depths"] = config.depths;
  json["downsample_in_bottleneck"] = config.downsample_in_bottleneck;
  json["downsample_in_first_stage"] = config.downsample_in_first_stage;
  json["dtype"] = "float32";
  json["embedding_size"] = config.embedding_size;
  json["hidden_act"] = "relu";
  json["hidden_sizes"] = config.hidden_sizes;
  json["id2label"] = names;
  json["label2id"] = ids;
  json["layer_type"] = config.bottleneck ? "bottleneck" : "basic";
  json["model_type"] = "resnet";
  json["num_channels"] = config.num_channels;
  return core::json_text(json, 2) + "\n";
}

}  // namespace lowrank::models
