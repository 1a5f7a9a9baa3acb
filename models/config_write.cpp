// config.json and generation_config.json, as transformers 5 writes them. The older spelling of what it renamed
// (rope_theta, rope_scaling, torch_dtype) stands beside it: transformers 4 would silently rotate by the default θ
// without it.
#include "lowrank/models/config_write.h"

#include <string>

#include "lowrank/models/families/family.h"

namespace lowrank::models {
namespace {

core::Json or_null(const std::optional<std::int64_t>& id) { return id ? core::Json(*id) : core::Json(nullptr); }

core::Json ids(const std::vector<std::int64_t>& values) {
  if (values.empty()) return nullptr;
  return values.size() == 1 ? core::Json(values.front()) : core::Json(values);
}

core::Json scaling(const RopeScaling& rope) {
  core::Json json = core::Json::object();
  if (rope.kind != RopeScaling::Kind::kDefault) json["factor"] = rope.factor;
  if (rope.kind == RopeScaling::Kind::kLlama3) {
    json["high_freq_factor"] = rope.high_freq_factor;
    json["low_freq_factor"] = rope.low_freq_factor;
    json["original_max_position_embeddings"] = rope.original_max_position_embeddings;
  }
  json["rope_type"] = rope.kind == RopeScaling::Kind::kLinear   ? "linear"
                      : rope.kind == RopeScaling::Kind::kLlama3 ? "llama3"
                                                                : "default";
  return json;
}

}  // namespace

std::string config_json(const DecoderConfig& config) {
  const Family& family = find_family(config.model_type, "DecoderConfig");
  nlohmann::json sorted;  // transformers sorts the keys
  core::Json json;
  json["architectures"] = core::Json::array({std::string(family.architecture)});
  json["attention_dropout"] = 0.0;
  json["bos_token_id"] = or_null(config.bos_token_id);
  json["eos_token_id"] = ids(config.eos_token_ids);
  json["pad_token_id"] = or_null(config.pad_token_id);
  json["head_dim"] = config.head_dim;
  json["hidden_act"] = "silu";
  json["hidden_size"] = config.hidden_size;
  json["initializer_range"] = config.initializer_range;
  json["intermediate_size"] = config.intermediate_size;
  json["max_position_embeddings"] = config.max_positions;
  json["model_type"] = config.model_type;
  json["num_attention_heads"] = config.heads;
  json["num_hidden_layers"] = config.layers;
  json["num_key_value_heads"] = config.kv_heads;
  json["rms_norm_eps"] = config.norm_eps;
  core::Json rope = scaling(config.rope_scaling);
  json["rope_scaling"] = config.rope_scaling.kind == RopeScaling::Kind::kDefault ? core::Json(nullptr) : rope;
  json["rope_theta"] = config.rope_theta;
  rope["rope_theta"] = config.rope_theta;
  json["rope_parameters"] = rope;
  json["tie_word_embeddings"] = config.tied;
  if (!config.dtype.empty()) json["dtype"] = json["torch_dtype"] = config.dtype;
  json["use_cache"] = true;
  json["vocab_size"] = config.vocab_size;
  family.write(config, json);
  for (const auto& [key, value] : json.items()) sorted[key] = nlohmann::json::parse(value.dump());
  return sorted.dump(2) + "\n";
}

std::string generation_config_json(const DecoderConfig& config) {
  nlohmann::json json;
  json["_from_model_config"] = true;
  if (config.bos_token_id) json["bos_token_id"] = *config.bos_token_id;
  if (config.pad_token_id) json["pad_token_id"] = *config.pad_token_id;
  if (config.eos_token_ids.size() == 1) json["eos_token_id"] = config.eos_token_ids.front();
  if (config.eos_token_ids.size() > 1) json["eos_token_id"] = config.eos_token_ids;
  return json.dump(2) + "\n";
}

}  // namespace lowrank::models
