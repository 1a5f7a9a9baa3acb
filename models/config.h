// DecoderConfig: one description for every decoder-only family.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/json.h"

namespace lowrank::models {

struct RopeScaling {
  enum class Kind { kDefault, kLinear, kLlama3 } kind = Kind::kDefault;
  double factor = 1, low_freq_factor = 1, high_freq_factor = 4;
  std::int64_t original_max_position_embeddings = 8192;
};

struct DecoderConfig {
  std::string model_type;  // "llama", "mistral", "qwen2", "qwen3"
  std::int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, layers = 0;
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  std::int64_t max_positions = 0;
  double norm_eps = 1e-6;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  bool qkv_bias = false, o_bias = false, mlp_bias = false;
  bool qk_norm = false;                              // RMSNorm on every head of q and k before the rotation (Qwen3)
  std::vector<std::optional<std::int64_t>> windows;  // per layer: sliding window, or none
  bool tied = false;                                 // the head is the embedding
  bool tied_stated = false;  // config.json says so itself; else load() looks whether lm_head is there
  std::string dtype;         // torch_dtype / dtype in the file, or empty
  double initializer_range = 0.02;
  std::optional<std::int64_t> bos_token_id, pad_token_id;
  std::vector<std::int64_t> eos_token_ids;  // from generation_config.json, else config.json
  std::vector<std::string> unknown_keys;    // keys of config.json that we do not know: warned about once
  std::vector<std::string> notes;           // settings that are known and deliberately not applied, in words

  std::int64_t parameter_count() const;  // tied head counted once
};

/// config.json (and generation_config.json beside it). FormatError for values that cannot be; ModelError for an unknown
/// model_type (lists the known ones) or a key that changes the mathematics and is not supported.
DecoderConfig read_config(const std::filesystem::path& model_directory);
DecoderConfig parse_config(const core::JsonView& json);
/// config.json of a Llama-family model, as transformers writes it.
std::string config_json(const DecoderConfig& config);
std::vector<std::string> known_model_types();

}  // namespace lowrank::models
