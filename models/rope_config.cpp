#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/models/limits.h"
#include "lowrank/models/rope.h"
#include "lowrank/models/rope_dictionary.h"

namespace lowrank::models {
namespace {

using Kind = RopeScaling::Kind;

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
    case Kind::kProportional:
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

bool known_somewhere(std::string_view key) {
  return std::any_of(kRopeKinds.begin(), kRopeKinds.end(), [&](const auto& kind) {
    const auto& keys = keys_of(kind.second);
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  });
}

Kind read_kind(const core::JsonView& dict, const Reading& reading) {
  std::string name = dict.get_string("rope_type", dict.get_string("type", "default"));
  for (const auto& [other, meant] : reading.rope.synonyms) {
    if (name == other) name = meant;
  }
  for (const auto& [known, kind] : kRopeKinds) {
    if (known == name) return kind;
  }
  throw ModelError(
      fmt::format("{}: rope_type '{}' is not supported; known are default, linear, dynamic, yarn, longrope, llama3 "
                  "and proportional",
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
  if (scaling.kind == Kind::kProportional) {
    if (dict.has_value("factor")) scaling.factor = positive(dict.at("factor"));
    return;
  }
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

// Of a proportional rotation: how many of the frequencies, which are those of the whole head.
double read_share(const core::JsonView& where, std::optional<double> partial) {
  const double share = partial.value_or(1);
  if (!(share > 0) || share > 1) where.fail(fmt::format("partial_rotary_factor {} must be in (0, 1]", share));
  return share;
}

void read_query_growth(const core::JsonView& dict, RotarySpec& rope) {
  rope.query_beta = dict.at("llama_4_scaling_beta").as_double();
  if (!(*rope.query_beta >= 0)) dict.at("llama_4_scaling_beta").fail("must not be negative");
  rope.query_original = dict.at("original_max_position_embeddings").as_int(1, kMaxPositions);
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
    const auto& passed_over = reading.rope.passed_over;
    if (std::find(passed_over.begin(), passed_over.end(), key) != passed_over.end()) continue;
    // Ministral 3 repeats its own length beside llama_4_scaling_beta.
    if (reading.rope.alpha && key == "alpha") continue;
    if (reading.rope.query_growth && (key == "llama_4_scaling_beta" || key == "max_position_embeddings")) continue;
    const core::JsonView value = dict.at(key);
    const bool neutral = value.is_null() || (value.is_number() && value.as_double() == 1);
    const bool other_kinds = known_somewhere(key);  // of another rope_type, and so without effect
    if (!neutral && !other_kinds) reading.keys.unknown("rope_scaling." + key);
  }
  rope.max_positions = reading.max_positions;
  rope.theta = dict.has_value("rope_theta") ? positive(dict.at("rope_theta")) : reading.theta;
  const auto stated = optional(dict, "partial_rotary_factor");
  rope.interleaved = reading.rope.interleaved;
  const auto partial = stated ? stated : reading.partial;
  const bool proportional = rope.scaling.kind == Kind::kProportional;
  rope.width = proportional ? reading.head_dim : read_width(dict, partial, reading);
  if (proportional) rope.scaling.partial = read_share(dict, partial);
  if (reading.rope.alpha && rope.scaling.kind == Kind::kDynamic && optional(dict, "alpha").value_or(0) != 0) {
    if (rope.width <= 2) dict.fail("'dynamic' needs heads wider than 2");
    const double width = static_cast<double>(rope.width);
    rope.theta *= std::pow(positive(dict.at("alpha")), width / (width - 2));
    rope.scaling.kind = Kind::kDefault;
  }
  read_scaling(dict, reading, rope.width, rope.scaling);
  if (reading.rope.query_growth) read_query_growth(dict, rope);
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

// rope_parameters of every type; in older files there is one dictionary, which is of the scaled type.
core::Json parameters_by_type(ConfigReader& keys, const std::vector<RopeOfType>& types) {
  core::Json by_type = core::Json::object();
  for (const RopeOfType& type : types) by_type[std::string(type.type)] = core::Json::object();
  if (!keys.has_value("rope_parameters")) {
    for (const RopeOfType& type : types) {
      if (type.absent.is_object()) by_type[std::string(type.type)] = type.absent;
    }
  } else {
    const core::JsonView all = keys.at("rope_parameters");
    for (const std::string& key : all.keys()) {
      if (!by_type.contains(key)) {
        std::vector<std::string_view> known;
        for (const RopeOfType& type : types) known.push_back(type.type);
        all.at(key).fail(fmt::format("the rotary parameters of this family stand by layer type; expected {}",
                                     fmt::join(known, " and ")));
      }
      if (!all.at(key).is_null() && !all.at(key).is_object()) all.at(key).fail("must be an object or null");
      if (all.at(key).is_object()) by_type[key] = all.at(key).raw();
    }
  }
  if (keys.has_value("rope_scaling")) {
    const core::JsonView scaling = keys.at("rope_scaling");
    if (!scaling.is_object()) scaling.fail("must be an object or null");
    for (const RopeOfType& type : types) {
      if (!type.scaled) continue;
      for (const std::string& key : scaling.keys()) by_type[std::string(type.type)][key] = scaling.at(key).raw();
    }
  }
  return by_type;
}

}  // namespace

RotarySpec read_rope(ConfigReader& keys, const DecoderConfig& config, std::int64_t head_dim, const RopeKeys& read) {
  if (head_dim % 2 != 0) {
    keys.json().fail(fmt::format("head_dim {} is odd; rotary positions turn pairs of columns", head_dim));
  }
  const std::optional<double> partial = read.partial ? std::optional(read.default_partial) : std::nullopt;
  Reading reading{keys, read, read.default_theta, partial, config.max_positions, head_dim};
  if (keys.has_value("rope_theta")) reading.theta = positive(keys.at("rope_theta"));
  if (read.partial && keys.has_value("partial_rotary_factor")) {
    reading.partial = keys.at("partial_rotary_factor").as_double();
  }
  keys.has("original_max_position_embeddings");
  const core::Json nothing = read.absent.is_object() ? read.absent : core::Json::object();
  const core::JsonView none(nothing, keys.json().where());
  const RotarySpec rope = read_dictionary(find_dictionary(keys).value_or(none), reading);
  write_rope(keys, rope, read, head_dim);
  return rope;
}

std::vector<RotarySpec> read_ropes(ConfigReader& keys, const DecoderConfig& config,
                                   const std::vector<RopeOfType>& types) {
  const core::Json by_type = parameters_by_type(keys, types);
  core::Json written = core::Json::object();
  std::vector<RotarySpec> ropes;
  for (const RopeOfType& type : types) {
    if (type.head_dim % 2 != 0) {
      keys.json().fail(fmt::format("head_dim {} is odd; rotary positions turn pairs of columns", type.head_dim));
    }
    double theta = type.default_theta;
    if (!type.theta_key.empty() && keys.has_value(type.theta_key)) theta = positive(keys.at(type.theta_key));
    const std::string name(type.type);
    const core::JsonView dict(by_type.at(name), keys.json().where() + ": rope_parameters." + name);
    const RopeKeys plain;
    const RotarySpec rope =
        read_one(dict, Reading{keys, plain, theta, std::nullopt, config.max_positions, type.head_dim});
    written[name] = rope_dictionary(rope);
    if (type.scaled)
      keys.write("rope_scaling", written[name].at("rope_type") == "default" ? core::Json() : written[name]);
    written[name]["rope_theta"] = rope.theta;
    if (!type.theta_key.empty()) keys.write(type.theta_key, rope.theta);
    ropes.push_back(rope);
  }
  keys.write("rope_parameters", written);
  return ropes;
}

}  // namespace lowrank::models
