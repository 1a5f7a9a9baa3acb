#include "lowrank/models/config.h"

#include <set>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/settings_limits.h"
#include "lowrank/models/config_keys.h"
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

DecoderConfig parse_family(const core::JsonView& json, const Family& family) {
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

// The keys of a model of several kinds of input that speak of its text, or of what is not run.
std::set<std::string, std::less<>> keys_beside_text(const core::JsonView& json) {
  std::set<std::string, std::less<>> asked = {"model_type", "text_config", "tie_word_embeddings", "initializer_range",
                                              "dtype",      "torch_dtype", "spatial_merge_size",  "max_soft_tokens"};
  for (const std::string& key : json.keys()) {
    const bool part = key.ends_with("_config") && key != "quantization_config" && key != "compression_config";
    const bool token = key.find("_token") != std::string::npos;
    const bool input = key.starts_with("vision_") || key.starts_with("image_") || key.starts_with("audio_") ||
                       key.starts_with("video_") || key.starts_with("mm_") || key.starts_with("projector_") ||
                       key.starts_with("multimodal_");
    if (part || token || input) asked.insert(key);
  }
  return asked;
}

// text_config is a model of its own; what stands beside it counts where it says nothing.
DecoderConfig parse_nested(const core::JsonView& json, const Family& family) {
  const core::JsonView text = json.at("text_config");
  if (!text.is_object()) text.fail("must be an object");
  const std::string type = text.get_string("model_type", std::string(family.text_type));
  const Family& text_family = find_family(type, text.where());
  if (!text_family.text_type.empty()) text.at("model_type").fail("must be a text model's");
  DecoderConfig config = parse_family(text, text_family);
  config.tied_stated = json.has_value("tie_word_embeddings");
  config.tied = json.get_bool("tie_word_embeddings", family.default_tied);
  for (const char* key : {"torch_dtype", "dtype"}) config.dtype = json.get_string(key, config.dtype);
  if (json.has_value("eos_token_id")) config.eos_token_ids = read_ids(json.at("eos_token_id"));
  if (json.has_value("bos_token_id")) config.bos_token_id = read_id(json.at("bos_token_id"));
  if (json.has_value("pad_token_id")) config.pad_token_id = read_id(json.at("pad_token_id"));
  check_unread_keys(json, keys_beside_text(json), config);
  auto blocks = std::make_shared<DecoderSpec>(*config.blocks);
  blocks->saved_prefix = blocks->prefix;
  blocks->prefix = family.text_prefix;
  config.blocks = std::move(blocks);
  return config;
}

}  // namespace

DecoderConfig parse_config(const core::JsonView& json) {
  if (!json.is_object()) json.fail("must be an object");
  const Family& family = find_family(json.at("model_type").as_string(), json.where());
  return family.text_type.empty() ? parse_family(json, family) : parse_nested(json, family);
}

std::vector<std::int64_t> end_token_ids(const std::filesystem::path& generation_file) {
  if (!std::filesystem::exists(generation_file)) return {};
  const core::Json generation = core::read_json(generation_file, core::kSettings);
  const core::JsonView view(generation, generation_file.string());
  return view.has("eos_token_id") ? read_ids(view.at("eos_token_id")) : std::vector<std::int64_t>();
}

DecoderConfig read_config(const std::filesystem::path& model_directory) {
  const std::filesystem::path file = model_directory / "config.json";
  const core::Json json = core::read_json(file, core::kSettings);
  DecoderConfig config = parse_config(core::JsonView(json, file.string()));

  const std::vector<std::int64_t> eos = end_token_ids(model_directory / "generation_config.json");
  if (!eos.empty()) config.eos_token_ids = eos;
  return config;
}

}  // namespace lowrank::models
