// config.json and generation_config.json, as transformers 5 writes them; the older spelling of what it renamed stands
// beside it.
#include "lowrank/models/config_write.h"

#include <string>

#include "lowrank/core/json_text.h"
#include "lowrank/models/families/family.h"

namespace lowrank::models {
namespace {

nlohmann::json or_null(const std::optional<std::int64_t>& id) { return id ? nlohmann::json(*id) : nlohmann::json(); }

nlohmann::json ids(const std::vector<std::int64_t>& values) {
  if (values.empty()) return nullptr;
  return values.size() == 1 ? nlohmann::json(values.front()) : nlohmann::json(values);
}

}  // namespace

std::string config_json(const DecoderConfig& config) {
  const Family& family = find_family(config.model_type, "DecoderConfig");
  nlohmann::json json;  // transformers sorts the keys
  for (const auto& [key, value] : config.family_keys.items()) json[key] = nlohmann::json::parse(core::json_text(value));
  const auto set = [&](const char* key, auto value) { json[std::string(family.spelling(key))] = value; };
  set("vocab_size", config.vocab_size);
  set("hidden_size", config.hidden_size);
  set("num_hidden_layers", config.layers);
  set("max_position_embeddings", config.max_positions);
  set("initializer_range", config.initializer_range);
  set("tie_word_embeddings", config.tied);
  json["architectures"] = {std::string(family.architecture)};
  json["bos_token_id"] = or_null(config.bos_token_id);
  json["eos_token_id"] = ids(config.eos_token_ids);
  json["pad_token_id"] = or_null(config.pad_token_id);
  json["model_type"] = config.model_type;
  if (!config.dtype.empty()) json["dtype"] = json["torch_dtype"] = config.dtype;
  json["use_cache"] = true;
  return core::json_text(core::Json(json), 2) + "\n";
}

std::string generation_config_json(const DecoderConfig& config) {
  nlohmann::json json;
  json["_from_model_config"] = true;
  if (config.bos_token_id) json["bos_token_id"] = *config.bos_token_id;
  if (config.pad_token_id) json["pad_token_id"] = *config.pad_token_id;
  if (config.eos_token_ids.size() == 1) json["eos_token_id"] = config.eos_token_ids.front();
  if (config.eos_token_ids.size() > 1) json["eos_token_id"] = config.eos_token_ids;
  return core::json_text(core::Json(json), 2) + "\n";
}

}  // namespace lowrank::models
