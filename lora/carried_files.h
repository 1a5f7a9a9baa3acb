// What goes from a model's and an adapter's folder into that of a merged model, beside the weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lowrank::lora {

/// ConfigError where a merged model cannot go to `out`: at or inside the model or the adapter (empty: there is none).
void refuse_merge_place(const std::filesystem::path& out, const std::filesystem::path& model,
                        const std::filesystem::path& adapter);

/// What config.json of a merged model says otherwise than the base's.
struct ConfigChange {
  bool untied = false;          // head and embedding are two
  std::int64_t vocabulary = 0;  // rows of an embedding that has grown; 0: as it was
  std::string dtype = {};       // "bfloat16" and the like, of weights in another type; empty: as it was
  bool tied = false;            // the head is the embedding, which is said where nothing is: not every family does without
};

/// Copies config, tokenizer, chat template, generation config and licences of `model` into the folder `out`, and gives
/// their names. The tokenizer, template and generation config of `adapter` (empty: there is none) stand in for the
/// model's where it has them.
std::vector<std::string> carry_files(const std::filesystem::path& model, const std::filesystem::path& adapter,
                                     const std::filesystem::path& out, const ConfigChange& change);

}  // namespace lowrank::lora
