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
#include "lowrank/kernels/sharded_base.h"
#include "lowrank/models/coded_base.h"
#include "lowrank/models/decoder.h"
#include "lowrank/models/dtype.h"
#include "lowrank/models/grown.h"

namespace lowrank::models {

/// What MODEL on a command line means: a folder; ORG/NAME in the Hugging Face cache (HF_HUB_CACHE, HF_HOME,
/// ~/.cache/huggingface/hub; refs/main); or an adapter folder, whose config names the base.
struct Resolved {
  std::filesystem::path model;                   // folder with config.json
  std::optional<std::filesystem::path> adapter;  // set when MODEL was an adapter folder
  std::string name;                              // as MODEL was written, for people
  std::string base_name;  // for base_model_name_or_path: ORG/NAME in the cache, else the folder, found from anywhere
};
/// MissingError saying where it was looked for.
Resolved resolve(const std::string& model);

struct LoadOptions {
  DTypeChoice dtype = DTypeChoice::kAuto;
  /// In which form the linear layers of the layers lie, experts too; embeddings, norms, routers and the head as stored.
  /// Not with `trainable`.
  kernels::BaseForm form = kernels::BaseForm::kAsStored;
  /// Weights as own, writable fp32 memory (for --method full); otherwise mapped read-only wherever the dtype fits.
  bool trainable = false;
  /// An adapter that will be put on the model: where its vocabulary has more rows than the model's (a base that was
  /// resized), those rows are taken. Not with `trainable`.
  std::optional<std::filesystem::path> adapter = std::nullopt;
  /// A larger vocabulary that is asked for otherwise. Not with `trainable`.
  std::shared_ptr<const GrownVocabulary> grown = nullptr;
  /// Of the matrices this process keeps its share alone, and has the rest sent by the others; opened by load(). Neither
  /// with `trainable`, a `form` of codes, nor further rows of a vocabulary.
  std::shared_ptr<kernels::ShardedBase> shares = nullptr;
  /// Where the weights are, and so everything that is computed with them.
  at::Device device = at::kCPU;
};

/// Weights in codes: what is asked for, and what became of it.
struct CodedLoad {
  kernels::BaseForm form = kernels::BaseForm::kAsStored;
  std::string sha256 = {};  // of the weight files, as weights_sha256() has it; empty where they come as stored
  std::shared_ptr<const CodedBase> base = nullptr;
};

struct LoadedModel {
  Decoder decoder{nullptr};
  std::shared_ptr<const data::Tokenizer> tokenizer;
  std::filesystem::path path;
  std::string name;
  formats::WeightFiles weights;
  bool grown = false;                 // there are further rows than the files'
  std::string dtype_reason;           // why this dtype was taken, in words
  CodedLoad coded;                    // how its weights came into codes
  std::shared_ptr<kernels::ShardedBase> shares;  // what other processes keep of it; null: nothing
  std::vector<std::string> warnings;  // unknown config keys and the like
};

/// Reads config, tokenizer and weights. Every weight the architecture needs must be there with its shape; others are an
/// error too, but for known inert buffers.
LoadedModel load(const std::string& model, const LoadOptions& options = {}, core::ProgressObserver* progress = nullptr);

/// The tokenizer of an adapter's folder; null where it has none, so that the model's own stands. Errors as
/// Tokenizer::load. What it has beyond the model's rows is refused when it occurs.
std::shared_ptr<const data::Tokenizer> adapter_tokenizer(const std::filesystem::path& adapter,
                                                         const DecoderConfig& config);
/// Tokens that end an answer by an adapter's generation_config.json; none without one.
std::vector<data::TokenId> adapter_end_ids(const std::filesystem::path& adapter);

/// The decoder alone from opened weight files, in dtype kFloat or kBFloat16; with the vocabulary of `grown`, if any.
/// `config.tied` is settled by what the files hold where they differ from it. What the user should know goes to
/// `warnings`.
Decoder load_decoder(DecoderConfig config, formats::WeightFiles weights, at::ScalarType dtype,
                     bool trainable = false, std::vector<std::string>* warnings = nullptr, at::Device device = at::kCPU,
                     const GrownVocabulary* grown = nullptr, CodedLoad* coded = nullptr,
                     core::ProgressObserver* progress = nullptr,
                     const std::shared_ptr<kernels::ShardedBase>& shares = nullptr);

/// SHA-256 over the weight files' own SHA-256, in order.
std::string weights_sha256(const formats::WeightFiles& weights, core::ProgressObserver* progress = nullptr);

/// A random start by config (for pretrain): normal(0, initializer_range), norms one, biases zero; fp32; by counters.
/// `trainable`: every weight requires grad.
Decoder random_decoder(const DecoderConfig& config, std::uint64_t seed, bool trainable = true,
                       at::Device device = at::kCPU);

/// A model folder of a decoder: config.json, model.safetensors (bf16 or fp32), generation_config.json, and the
/// tokenizer's files.
void save_model(DecoderImpl& decoder, const data::Tokenizer& tokenizer, const std::filesystem::path& directory,
                at::ScalarType dtype);

}  // namespace lowrank::models
