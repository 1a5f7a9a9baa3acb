// From a name to a model.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/data/tokenizer/tokenizer.h"
#include "lowrank/formats/safetensors.h"
#include "lowrank/models/decoder.h"
#include "lowrank/models/dtype.h"

namespace lowrank::models {

/// What MODEL on a command line means: a folder; ORG/NAME in the Hugging Face cache (HF_HUB_CACHE, HF_HOME,
/// ~/.cache/huggingface/hub; refs/main); or an adapter folder, whose config names the base.
struct Resolved {
  std::filesystem::path model;                   // folder with config.json
  std::optional<std::filesystem::path> adapter;  // set when MODEL was an adapter folder
  std::string name;                              // as to be written in base_model_name_or_path
};
/// MissingError saying where it was looked for.
Resolved resolve(const std::string& model);

struct LoadOptions {
  DTypeChoice dtype = DTypeChoice::kAuto;
  /// Weights as own, writable fp32 memory (for --method full); otherwise mapped read-only wherever the dtype fits.
  bool trainable = false;
  /// Where the weights are, and so everything that is computed with them.
  at::Device device = at::kCPU;
};

struct LoadedModel {
  Decoder decoder{nullptr};
  std::shared_ptr<const data::Tokenizer> tokenizer;
  std::filesystem::path path;
  std::string name;
  formats::WeightFiles weights;
  std::string dtype_reason;           // why this dtype was taken, in words
  std::vector<std::string> warnings;  // unknown config keys and the like
};

/// Reads config, tokenizer and weights. Every weight the architecture needs must be there with its shape; others are an
/// error too, but for known inert buffers.
LoadedModel load(const std::string& model, const LoadOptions& options = {}, core::ProgressObserver* progress = nullptr);

/// The decoder alone from opened weight files, in dtype kFloat or kBFloat16. `config.tied` is settled by what the files
/// hold where they differ from it. What the user should know goes to `warnings`.
Decoder load_decoder(DecoderConfig config, const formats::WeightFiles& weights, at::ScalarType dtype,
                     bool trainable = false, std::vector<std::string>* warnings = nullptr,
                     at::Device device = at::kCPU);

/// A random start by config (for pretrain): normal(0, initializer_range), norms one, biases zero; fp32; by counters.
/// `trainable`: every weight requires grad.
Decoder random_decoder(const DecoderConfig& config, std::uint64_t seed, bool trainable = true,
                       at::Device device = at::kCPU);

/// A model folder of a decoder: config.json, model.safetensors (bf16 or fp32), generation_config.json, and the
/// tokenizer's files.
void save_model(DecoderImpl& decoder, const data::Tokenizer& tokenizer, const std::filesystem::path& directory,
                at::ScalarType dtype);

}  // namespace lowrank::models
