// DecoderConfig: what every decoder-only family has in common, and the blocks that its family makes of config.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/json.h"

namespace lowrank::models {

struct DecoderSpec;

struct DecoderConfig {
  std::string model_type;  // "llama", "mistral", "qwen2", "qwen3"
  std::int64_t vocab_size = 0, hidden_size = 0, layers = 0;
  std::int64_t max_positions = 0;
  bool tied = false;         // the head is the embedding
  bool tied_stated = false;  // config.json says so itself; else load() looks whether lm_head is there
  std::string dtype;         // torch_dtype / dtype in the file, or empty
  double initializer_range = 0.02;
  std::optional<std::int64_t> bos_token_id, pad_token_id;
  std::vector<std::int64_t> eos_token_ids;  // from generation_config.json, else config.json
  std::vector<std::string> unknown_keys;    // keys of config.json that we do not know: warned about once
  std::vector<std::string> notes;           // settings that are known and deliberately not applied, in words

  std::shared_ptr<const DecoderSpec> blocks;  // models/description.h
  /// The keys of config.json beyond the members above that the family read, each with the value that counts (its
  /// default where the file leaves it out), in the family's spelling: what config_json writes.
  core::Json family_keys = core::Json::object();

  std::int64_t parameter_count() const;  // tied head counted once
  /// Those that one token passes through: of a mixture, its own experts' alone.
  std::int64_t active_parameter_count() const;
};

/// config.json (and generation_config.json beside it). FormatError for values that cannot be; ModelError for an unknown
/// model_type (lists the known ones) or a key that changes the mathematics and is not supported.
DecoderConfig read_config(const std::filesystem::path& model_directory);
DecoderConfig parse_config(const core::JsonView& json);
/// eos_token_id of a generation_config.json, one or several; none where the file says nothing or is not there.
std::vector<std::int64_t> end_token_ids(const std::filesystem::path& generation_file);
/// config.json, as transformers writes it.
std::string config_json(const DecoderConfig& config);
std::vector<std::string> known_model_types();

}  // namespace lowrank::models
