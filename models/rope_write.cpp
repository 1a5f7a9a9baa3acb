#include <algorithm>
#include <optional>
#include <string>

#include "lowrank/models/rope_dictionary.h"

namespace lowrank::models {
namespace {

using Kind = RopeScaling::Kind;

std::string_view name_of(Kind kind) {
  return std::find_if(kRopeKinds.begin(), kRopeKinds.end(), [&](const auto& one) { return one.second == kind; })->first;
}

}  // namespace

core::Json rope_dictionary(const RotarySpec& rope) {
  const RopeScaling& scaling = rope.scaling;
  core::Json json = core::Json::object();
  const auto stated = [&](const char* key, const std::optional<double>& value) {
    if (value) json[key] = *value;
  };
  if (scaling.kind != Kind::kDefault) json["factor"] = scaling.factor;
  if (scaling.kind == Kind::kProportional) json["partial_rotary_factor"] = scaling.partial;
  if (rope.query_beta) {
    json["llama_4_scaling_beta"] = *rope.query_beta;
    json["original_max_position_embeddings"] = rope.query_original;
  }
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

void write_rope(ConfigReader& keys, const RotarySpec& rope, const RopeKeys& read, std::int64_t head_dim) {
  core::Json json = rope_dictionary(rope);
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

}  // namespace lowrank::models
