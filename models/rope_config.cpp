#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/models/limits.h"
#include "lowrank/models/rope.h"

namespace lowrank::models {
namespace {

using Kind = RopeScaling::Kind;

constexpr double kDefaultTheta = 10000;

double positive(const core::JsonView& value) {
  const double x = value.as_double();
  if (!(x > 0)) value.fail(fmt::format("must be greater than 0, found {}", x));
  return x;
}

// What is passed on while the dictionary is read.
struct Reading {
  ConfigReader& keys;
  const RopeKeys& rope;
  double theta;
  std::optional<double> partial;
  std::int64_t max_positions, head_dim;
};

// The keys that a kind reads beyond rope_type, type, rope_theta, partial_rotary_factor.
const std::vector<std::string_view>& keys_of(Kind kind) {
  static const std::vector<std::string_view> none,
      linear = {"factor"},
      llama3 = {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
      yarn = {"factor", "attention_factor", "beta_fast", "beta_slow",
              "mscale", "mscale_all_dim",   "truncate",  "original_max_position_embeddings"},
      longrope = {"factor", "attention_factor", "short_factor", "long_factor", "original_max_position_embeddings"};
  switch (kind) {
    case Kind::kLinear:
    case Kind::kDynamic:
      return linear;
    case Kind::kLlama3:
      return llama3;
    case Kind::kYarn:
      return yarn;
    case Kind::kLongRope:
      return longrope;
    default:
      return none;
  }
}

constexpr std::array<std::pair<std::string_view, Kind>, 6> kKinds = {{{"default", Kind::kDefault},
                                                                      {"linear", Kind::kLinear},
                                                                      {"dynamic", Kind::kDynamic},
                                                                      {"yarn", Kind::kYarn},
                                                                      {"longrope", Kind::kLongRope},
                                                                      {"llama3", Kind::kLlama3}}};

bool known_somewhere(std::string_view key) {
  return std::any_of(kKinds.begin(), kKinds.end(), [&](const auto& kind) {
    const auto& keys = keys_of(kind.second);
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  });
}

std::string_view name_of(Kind kind) {
  return std::find_if(kKinds.begin(), kKinds.end(), [&](const auto& one) { return one.second == kind; })->first;
}

Kind read_kind(const core::JsonView& dict, const Reading& reading) {
  std::string name = dict.get_string("rope_type", dict.get_string("type", "default"));
  for (const auto& [other, meant] : reading.rope.synonyms) {
    if (name == other) name = meant;
  }
  for (const auto& [known, kind] : kKinds) {
    if (known == name) return kind;
  }
  throw ModelError(
      fmt::format("{}: rope_type '{}' is not supported; known are default, linear, dynamic, yarn, longrope and llama3",
                  dict.where(), core::printable(name)));
}

// transformers' order: beside the dictionary, in it, the model's own length.
std::int64_t read_original(const core::JsonView& dict, const Reading& reading) {
  constexpr const char* kKey = "original_max_position_embeddings";
  if (reading.keys.has_value(kKey)) return reading.keys.at(kKey).as_int(1, kMaxPositions);
  if (reading.rope.default_original) return *reading.rope.default_original;
  return dict.get_int(kKey, reading.max_positions, 1, kMaxPositions);
}

std::optional<double> optional(const core::JsonView& dict, const char* key) {
  return dict.has_value(key) ? std::optional(dict.at(key).as_double()) : std::nullopt;
}

// A factor for every frequency.
std::vector<double> read_factors(const core::JsonView& dict, const char* key, std::int64_t width) {
  const core::JsonView list = dict.at(key);
  if (!list.is_array() || static_cast<std::int64_t>(list.size()) != width / 2) {
    list.fail(fmt::format("expected a list of {} numbers, one for every frequency", width / 2));
  }
  std::vector<double> factors;
  for (std::size_t i = 0; i < list.size(); ++i) factors.push_back(positive(list.at(i)));
  return factors;
}

void read_yarn(const core::JsonView& dict, RopeScaling& scaling) {
  scaling.attention_factor = optional(dict, "attention_factor");
  scaling.mscale = optional(dict, "mscale");
  scaling.mscale_all_dim = optional(dict, "mscale_all_dim");
  if (optional(dict, "beta_fast").value_or(0) != 0) scaling.beta_fast = positive(dict.at("beta_fast"));
  if (optional(dict, "beta_slow").value_or(0) != 0) scaling.beta_slow = positive(dict.at("beta_slow"));
  scaling.truncate = dict.get_bool("truncate", true);
}

void read_scaling(const core::JsonView& dict, const Reading& reading, std::int64_t width, RopeScaling& scaling) {
  if (scaling.kind == Kind::kDefault) return;
  const bool has_original = scaling.kind != Kind::kLinear && scaling.kind != Kind::kDynamic;
  if (has_original) scaling.original_max_position_embeddings = read_original(dict, reading);
  const bool by_lengths = scaling.kind == Kind::kLongRope || scaling.kind == Kind::kYarn;
  if (by_lengths && !dict.has_value("factor")) {
    scaling.factor =
        static_cast<double>(reading.max_positions) / static_cast<double>(scaling.original_max_position_embeddings);
  } else {
    scaling.factor = positive(dict.at("factor"));
  }
  if (scaling.kind == Kind::kLlama3) {
    scaling.low_freq_factor = positive(dict.at("low_freq_factor"));
    scaling.high_freq_factor = positive(dict.at("high_freq_factor"));
    if (scaling.high_freq_factor <= scaling.low_freq_factor) {
      dict.at("high_freq_factor").fail("must be greater than low_freq_factor");
    }
  }
  if (scaling.kind == Kind::kYarn) read_yarn(dict, scaling);
  if (scaling.kind == Kind::kDynamic && width <= 2) dict.fail("'dynamic' needs heads wider than 2");
  if (scaling.kind != Kind::kLongRope) return;
  scaling.attention_factor = optional(dict, "attention_factor");
  scaling.short_factor = read_factors(dict, "short_factor", width);
  scaling.long_factor = read_factors(dict, "long_factor", width);
}

// How many columns of a head turn.
std::int64_t read_width(const core::JsonView& where, std::optional<double> partial, const Reading& reading) {
  if (!partial || *partial == 1) return reading.head_dim;
  if (!reading.rope.partial) {
    throw ModelError(
        fmt::format("{}: a rotation of part of each head (partial_rotary_factor {}) is not supported for this "
                    "family; expected 1",
                    where.where(), *partial));
  }
  const auto width = static_cast<std::int64_t>(static_cast<double>(reading.head_dim) * *partial);
  if (width >= 2 && width <= reading.head_dim && width % 2 == 0) return width;
  where.fail(
      fmt::format("partial_rotary_factor {} leaves {} columns of a head of {}; an even number from 2 on is expected",
                  *partial, width, reading.head_dim));
}

RotarySpec read_one(const core::JsonView& dict, const Reading& reading) {
  static constexpr std::array<std::string_view, 4> kCommon = {"rope_type", "type", "rope_theta",
                                                              "partial_rotary_factor"};
  RotarySpec rope;
  rope.scaling.kind = read_kind(dict, reading);
  const auto& own = keys_of(rope.scaling.kind);
  for (const std::string& key : dict.keys()) {
    if (std::find(kCommon.begin(), kCommon.end(), key) != kCommon.end()) continue;
    if (std::find(own.begin(), own.end(), key) != own.end()) continue;
    const core::JsonView value = dict.at(key);
    const bool neutral = value.is_null() || (value.is_number() && value.as_double() == 1);
    const bool other_kinds = known_somewhere(key);  // of another rope_type, and so without effect
    if (!neutral && !other_kinds) reading.keys.unknown("rope_scaling." + key);
  }
  rope.max_positions = reading.max_positions;
  rope.theta = dict.has_value("rope_theta") ? positive(dict.at("rope_theta")) : reading.theta;
  const auto stated = optional(dict, "partial_rotary_factor");
  rope.width = read_width(dict, stated ? stated : reading.partial, reading);
  read_scaling(dict, reading, rope.width, rope.scaling);
  return rope;
}

// The dictionary that holds the parameters: transformers takes rope_scaling where it is not empty.
std::optional<core::JsonView> find_dictionary(ConfigReader& keys) {
  std::optional<core::JsonView> found;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!keys.has_value(key)) continue;
    const core::JsonView dict = keys.at(key);
    if (!dict.is_object()) dict.fail("must be an object or null");
    if (dict.size() > 0 && !found) found.emplace(dict);
  }
  return found;
}

RotarySpec read_dictionary(const core::JsonView& dict, const Reading& reading) {
  std::vector<core::JsonView> nested;
  for (const std::string& key : dict.keys()) {
    if (dict.at(key).is_object()) nested.push_back(dict.at(key));
  }
  if (nested.empty()) return read_one(dict, reading);
  const RotarySpec first = read_one(nested.front(), reading);
  for (const core::JsonView& other : nested) {
    if (read_one(other, reading) == first) continue;
    throw ModelError(fmt::format("{}: rotary parameters that differ between layer types ({} and {}) are not supported",
                                 dict.where(), nested.front().where(), other.where()));
  }
  return first;
}

core::Json dictionary_of(const RotarySpec& rope) {
  const RopeScaling& scaling = rope.scaling;
  core::Json json = core::Json::object();
  const auto stated = [&](const char* key, const std::optional<double>& value) {
    if (value) json[key] = *value;
  };
  if (scaling.kind != Kind::kDefault) json["factor"] = scaling.factor;
  if (scaling.kind == Kind::kLlama3) {
    json["high_freq_factor"] = scaling.high_freq_factor;
    json["low_freq_factor"] = scaling.low_freq_factor;
  }
  if (scaling.kind == Kind::kYarn) {
    json["beta_fast"] = scaling.beta_fast;
    json["beta_slow"] = scaling.beta_slow;
    stated("mscale", scaling.mscale);
    stated("mscale_all_dim", scaling.mscale_all_dim);
    json["truncate"] = scaling.truncate;
  }
  if (scaling.kind == Kind::kLongRope) {
    json["short_factor"] = scaling.short_factor;
    json["long_factor"] = scaling.long_factor;
  }
  stated("attention_factor", scaling.attention_factor);
  if (scaling.kind == Kind::kLlama3 || scaling.kind == Kind::kYarn || scaling.kind == Kind::kLongRope) {
    json["original_max_position_embeddings"] = scaling.original_max_position_embeddings;
  }
  json["rope_type"] = std::string(name_of(scaling.kind));
  return json;
}

// In transformers 5's spelling, and beside it the older one: transformers 4 would silently rotate by the default θ
// without it.
void write_rope(ConfigReader& keys, const RotarySpec& rope, const RopeKeys& read, std::int64_t head_dim) {
  core::Json json = dictionary_of(rope);
  if (read.partial) {
    json["partial_rotary_factor"] = static_cast<double>(rope.width) / static_cast<double>(head_dim);
    keys.write("partial_rotary_factor", json["partial_rotary_factor"]);
  }
  if (read.default_original) {
    const bool used = json.contains("original_max_position_embeddings");
    keys.write("original_max_position_embeddings",
               used ? rope.scaling.original_max_position_embeddings : *read.default_original);
  }
  keys.write("rope_scaling", rope.scaling.kind == Kind::kDefault ? core::Json(nullptr) : json);
  keys.write("rope_theta", rope.theta);
  json["rope_theta"] = rope.theta;
  keys.write("rope_parameters", json);
}

}  // namespace

RotarySpec read_rope(ConfigReader& keys, const DecoderConfig& config, std::int64_t head_dim, const RopeKeys& read) {
  if (head_dim % 2 != 0) {
    keys.json().fail(fmt::format("head_dim {} is odd; rotary positions turn pairs of columns", head_dim));
  }
  Reading reading{keys, read, kDefaultTheta, std::nullopt, config.max_positions, head_dim};
  if (keys.has_value("rope_theta")) reading.theta = positive(keys.at("rope_theta"));
  if (read.partial && keys.has_value("partial_rotary_factor")) {
    reading.partial = keys.at("partial_rotary_factor").as_double();
  }
  keys.has("original_max_position_embeddings");
  const core::Json nothing = core::Json::object();
  const core::JsonView none(nothing, keys.json().where());
  const RotarySpec rope = read_dictionary(find_dictionary(keys).value_or(none), reading);
  write_rope(keys, rope, read, head_dim);
  return rope;
}

}  // namespace lowrank::models
