#include "lowrank/models/config.h"

#include "lowrank/core/error.h"
#include "lowrank/models/config_reader.h"
#include "lowrank/models/description.h"
#include "lowrank/models/families/family.h"
#include "lowrank/models/limits.h"

namespace lowrank::models {
namespace {

std::optional<std::int64_t> read_id(const core::JsonView& value) {
  if (value.is_null()) return std::nullopt;
  const std::int64_t id = value.as_int(-1, kMaxVocabulary);  // old configs write -1 for none
  return id < 0 ? std::nullopt : std::optional(id);
}

// One id, a list of them, or null.
std::vector<std::int64_t> read_ids(const core::JsonView& value) {
  std::vector<std::int64_t> ids;
  if (!value.is_array()) {
    if (const auto id = read_id(value)) ids.push_back(*id);
    return ids;
  }
  for (std::size_t i = 0; i < value.size(); ++i) ids.push_back(value.at(i).as_int(0, kMaxVocabulary));
  return ids;
}

}  // namespace

DecoderConfig parse_config(const core::JsonView& json) {
  if (!json.is_object()) json.fail("must be an object");
  const Family& family = find_family(json.at("model_type").as_string(), json.where());
  ConfigReader keys(json, family);
  keys.has("model_type");
  DecoderConfig config;
  config.model_type = family.model_type;
  config.vocab_size = keys.integer("vocab_size", kMaxVocabulary);
  config.hidden_size = keys.integer("hidden_size", kMaxWidth);
  config.layers = keys.integer("num_hidden_layers", kMaxLayers);
  config.max_positions = keys.integer("max_position_embeddings", family.default_max_positions, 1, kMaxPositions);
  config.initializer_range = keys.number("initializer_range", 0.02);
  if (!(config.initializer_range >= 0)) keys.at("initializer_range").fail("must not be negative");
  config.tied_stated = keys.has_value("tie_word_embeddings");
  config.tied = keys.boolean("tie_word_embeddings", family.default_tied);
  config.dtype = keys.has_value("dtype") ? keys.at("dtype").as_string() : "";
  if (keys.has_value("torch_dtype") && config.dtype.empty()) config.dtype = keys.at("torch_dtype").as_string();
  if (keys.has("bos_token_id")) config.bos_token_id = read_id(keys.at("bos_token_id"));
  if (keys.has("pad_token_id")) config.pad_token_id = read_id(keys.at("pad_token_id"));
  if (keys.has("eos_token_id")) config.eos_token_ids = read_ids(keys.at("eos_token_id"));
  config.blocks = std::make_shared<const DecoderSpec>(family.describe(keys, config));
  keys.finish(config);
  return config;
}

DecoderConfig read_config(const std::filesystem::path& model_directory) {
  const std::filesystem::path file = model_directory / "config.json";
  const core::Json json = core::read_json(file);
  DecoderConfig config = parse_config(core::JsonView(json, file.string()));

  const std::filesystem::path generation_file = model_directory / "generation_config.json";
  if (std::filesystem::exists(generation_file)) {
    const core::Json generation = core::read_json(generation_file);
    const core::JsonView view(generation, generation_file.string());
    if (view.has("eos_token_id")) {
      const std::vector<std::int64_t> eos = read_ids(view.at("eos_token_id"));
      if (!eos.empty()) config.eos_token_ids = eos;
    }
  }
  return config;
}

}  // namespace lowrank::models
