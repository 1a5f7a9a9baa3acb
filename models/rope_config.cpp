#include <fmt/format.h>

#include <array>
#include <optional>
#include <string_view>

#include "lowrank/core/error.h"
#include "lowrank/models/rope.h"

namespace lowrank::models {
namespace {

constexpr double kDefaultTheta = 10000;

double positive(const core::JsonView& value) {
  const double x = value.as_double();
  if (!(x > 0)) value.fail(fmt::format("must be greater than 0, found {}", x));
  return x;
}

struct Rope {
  double theta = kDefaultTheta;
  RopeScaling scaling;
};

bool equal(const Rope& a, const Rope& b) {
  return a.theta == b.theta && a.scaling.kind == b.scaling.kind && a.scaling.factor == b.scaling.factor &&
         a.scaling.low_freq_factor == b.scaling.low_freq_factor &&
         a.scaling.high_freq_factor == b.scaling.high_freq_factor &&
         a.scaling.original_max_position_embeddings == b.scaling.original_max_position_embeddings;
}

void read_llama3(const core::JsonView& dict, const core::JsonView& json, std::int64_t max_positions,
                 RopeScaling& scaling) {
  constexpr std::int64_t kMax = std::int64_t{1} << 31;
  scaling.factor = positive(dict.at("factor"));
  scaling.low_freq_factor = positive(dict.at("low_freq_factor"));
  scaling.high_freq_factor = positive(dict.at("high_freq_factor"));
  if (scaling.high_freq_factor <= scaling.low_freq_factor) {
    dict.at("high_freq_factor").fail("must be greater than low_freq_factor");
  }
  // transformers' order: beside the dictionary, in it, the model's own length.
  if (json.has_value("original_max_position_embeddings")) {
    scaling.original_max_position_embeddings = json.at("original_max_position_embeddings").as_int(1, kMax);
  } else {
    scaling.original_max_position_embeddings = dict.get_int("original_max_position_embeddings", max_positions, 1, kMax);
  }
}

Rope read_one(const core::JsonView& dict, const core::JsonView& json, double theta, DecoderConfig& config) {
  static constexpr std::array<std::string_view, 7> kKnown = {"rope_type",
                                                             "type",
                                                             "rope_theta",
                                                             "factor",
                                                             "low_freq_factor",
                                                             "high_freq_factor",
                                                             "original_max_position_embeddings"};
  for (const std::string& key : dict.keys()) {
    if (std::find(kKnown.begin(), kKnown.end(), key) != kKnown.end()) continue;
    const core::JsonView value = dict.at(key);
    const bool neutral = value.is_null() || (value.is_number() && value.as_double() == 1);
    if (key == "partial_rotary_factor" && !neutral) {
      throw ModelError(fmt::format("{}: a rotation of part of each head ({}) is not supported; expected 1",
                                   value.where(), value.raw().dump()));
    }
    if (!neutral) config.unknown_keys.push_back("rope_scaling." + key);
  }
  Rope rope;
  rope.theta = dict.has_value("rope_theta") ? positive(dict.at("rope_theta")) : theta;
  const std::string kind = dict.get_string("rope_type", dict.get_string("type", "default"));
  if (kind == "default") return rope;
  if (kind == "linear") {
    rope.scaling.kind = RopeScaling::Kind::kLinear;
    rope.scaling.factor = positive(dict.at("factor"));
  } else if (kind == "llama3") {
    rope.scaling.kind = RopeScaling::Kind::kLlama3;
    read_llama3(dict, json, config.max_positions, rope.scaling);
  } else {
    throw ModelError(
        fmt::format("{}: rope_type '{}' is not supported; known are default, linear and llama3", dict.where(), kind));
  }
  return rope;
}

// The dictionary that holds the parameters: transformers takes rope_scaling where it is not empty.
std::optional<core::JsonView> find_dictionary(const core::JsonView& json) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!json.has_value(key)) continue;
    const core::JsonView dict = json.at(key);
    if (!dict.is_object()) dict.fail("must be an object or null");
    if (dict.size() > 0) return dict;
  }
  return std::nullopt;
}

}  // namespace

void read_rope(const core::JsonView& json, DecoderConfig& config) {
  const double theta = json.has_value("rope_theta") ? positive(json.at("rope_theta")) : kDefaultTheta;
  const std::optional<core::JsonView> dict = find_dictionary(json);
  Rope rope;
  rope.theta = theta;
  if (dict) {
    std::vector<core::JsonView> nested;
    for (const std::string& key : dict->keys()) {
      if (dict->at(key).is_object()) nested.push_back(dict->at(key));
    }
    if (nested.empty()) {
      rope = read_one(*dict, json, theta, config);
    } else {
      rope = read_one(nested.front(), json, theta, config);
      for (const core::JsonView& other : nested) {
        if (equal(rope, read_one(other, json, theta, config))) continue;
        throw ModelError(
            fmt::format("{}: rotary parameters that differ between layer types ({} and {}) are not supported",
                        dict->where(), nested.front().where(), other.where()));
      }
    }
  }
  config.rope_theta = rope.theta;
  config.rope_scaling = rope.scaling;
}

}  // namespace lowrank::models
