#include "lowrank/models/config.h"

#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/models/config_keys.h"
#include "lowrank/models/families/family.h"
#include "lowrank/models/rope.h"

namespace lowrank::models {
namespace {

// Beyond any real model, and small enough that no product of two overflows.
constexpr std::int64_t kMaxLayers = 4096, kMaxWidth = 1 << 20, kMaxHeads = 1 << 14, kMaxHeadDim = 1 << 14;
constexpr std::int64_t kMaxIntermediate = 1 << 24, kMaxVocabulary = 1 << 26, kMaxPositions = std::int64_t{1} << 31;

std::int64_t required(const core::JsonView& json, const char* key, std::int64_t high) {
  return json.at(key).as_int(1, high);
}

std::optional<std::int64_t> read_id(const core::JsonView& json, const char* key) {
  if (!json.has_value(key)) return std::nullopt;
  const std::int64_t id = json.at(key).as_int(-1, kMaxVocabulary);  // old configs write -1 for none
  return id < 0 ? std::nullopt : std::optional(id);
}

// One id, a list of them, or null.
std::vector<std::int64_t> read_ids(const core::JsonView& json, const char* key) {
  std::vector<std::int64_t> ids;
  if (!json.has_value(key)) return ids;
  const core::JsonView value = json.at(key);
  if (!value.is_array()) {
    if (const auto id = read_id(json, key)) ids.push_back(*id);
    return ids;
  }
  for (std::size_t i = 0; i < value.size(); ++i) ids.push_back(value.at(i).as_int(0, kMaxVocabulary));
  return ids;
}

void read_heads(const core::JsonView& json, const Family& family, DecoderConfig& config) {
  config.heads = required(json, "num_attention_heads", kMaxHeads);
  config.kv_heads = config.heads;
  if (json.has_value("num_key_value_heads")) {
    config.kv_heads = required(json, "num_key_value_heads", kMaxHeads);
  } else if (!json.has("num_key_value_heads") && family.default_kv_heads != 0) {
    config.kv_heads = family.default_kv_heads;
  }
  if (config.heads % config.kv_heads != 0) {
    json.fail(fmt::format("num_key_value_heads {} must divide num_attention_heads {}", config.kv_heads, config.heads));
  }
  if (json.has_value("head_dim")) {
    config.head_dim = required(json, "head_dim", kMaxHeadDim);
  } else if (family.default_head_dim != 0) {
    config.head_dim = family.default_head_dim;
  } else if (config.hidden_size % config.heads != 0) {
    json.fail(fmt::format("hidden_size {} is not a multiple of num_attention_heads {} and there is no head_dim",
                          config.hidden_size, config.heads));
  } else {
    config.head_dim = config.hidden_size / config.heads;
  }
  if (config.head_dim % 2 != 0) {
    json.fail(fmt::format("head_dim {} is odd; rotary positions turn pairs of columns", config.head_dim));
  }
}

}  // namespace

DecoderConfig parse_config(const core::JsonView& json) {
  if (!json.is_object()) json.fail("must be an object");
  const Family& family = find_family(json.at("model_type").as_string(), json.where());
  DecoderConfig config;
  config.model_type = family.model_type;
  check_config_keys(json, family, config);

  config.vocab_size = required(json, "vocab_size", kMaxVocabulary);
  config.hidden_size = required(json, "hidden_size", kMaxWidth);
  config.intermediate_size = required(json, "intermediate_size", kMaxIntermediate);
  config.layers = required(json, "num_hidden_layers", kMaxLayers);
  read_heads(json, family, config);
  config.max_positions = json.get_int("max_position_embeddings", family.default_max_positions, 1, kMaxPositions);
  config.norm_eps = json.get_double("rms_norm_eps", 1e-6);
  if (!(config.norm_eps >= 0)) json.at("rms_norm_eps").fail("must not be negative");
  config.initializer_range = json.get_double("initializer_range", 0.02);
  if (!(config.initializer_range >= 0)) json.at("initializer_range").fail("must not be negative");
  read_rope(json, config);

  config.tied_stated = json.has_value("tie_word_embeddings");
  config.tied = json.get_bool("tie_word_embeddings", false);  // the default of all four classes
  config.dtype = json.get_string("dtype", json.get_string("torch_dtype", ""));
  config.bos_token_id = read_id(json, "bos_token_id");
  config.pad_token_id = read_id(json, "pad_token_id");
  config.eos_token_ids = read_ids(json, "eos_token_id");
  config.windows.assign(static_cast<std::size_t>(config.layers), std::nullopt);
  family.read(json, config);
  return config;
}

DecoderConfig read_config(const std::filesystem::path& model_directory) {
  const std::filesystem::path file = model_directory / "config.json";
  const core::Json json = core::read_json(file);
  DecoderConfig config = parse_config(core::JsonView(json, file.string()));

  const std::filesystem::path generation_file = model_directory / "generation_config.json";
  if (std::filesystem::exists(generation_file)) {
    const core::Json generation = core::read_json(generation_file);
    const std::vector<std::int64_t> eos =
        read_ids(core::JsonView(generation, generation_file.string()), "eos_token_id");
    if (!eos.empty()) config.eos_token_ids = eos;
  }
  return config;
}

std::int64_t DecoderConfig::parameter_count() const {
  const std::int64_t d = hidden_size, q = heads * head_dim, kv = kv_heads * head_dim;
  std::int64_t layer = 2 * d + (2 * q + 2 * kv) * d + 3 * d * intermediate_size;
  if (qkv_bias) layer += q + 2 * kv;
  if (o_bias) layer += d;
  if (mlp_bias) layer += 2 * intermediate_size + d;
  if (qk_norm) layer += 2 * head_dim;
  return layers * layer + d + (tied ? 1 : 2) * vocab_size * d;
}

}  // namespace lowrank::models
