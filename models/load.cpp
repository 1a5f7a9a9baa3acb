#include "lowrank/models/load.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "lowrank/core/error.h"
#include "lowrank/models/description.h"
#include "lowrank/models/mapped_weights.h"

namespace lowrank::models {
namespace {

constexpr const char* kScore = "score.weight";

std::string embedding_of(const DecoderSpec& spec) { return spec.prefix + spec.embedding.name + ".weight"; }

// The prefix under which the files have the embedding: the family's first where none has it.
void settle_prefix(const DecoderSpec& spec, const formats::WeightFiles& files, MappedWeights& source) {
  for (const std::string& prefix : spec.stored_prefixes) {
    if (files.find(prefix + spec.embedding.name + ".weight") == nullptr) continue;
    return source.rename(spec.prefix, prefix);
  }
}

bool same_bytes(const formats::WeightFiles::Entry& a, const formats::WeightFiles::Entry& b) {
  const auto x = a.bytes(), y = b.bytes();
  return a.info->dtype == b.info->dtype && a.info->shape == b.info->shape && x.size() == y.size() &&
         std::memcmp(x.data(), y.data(), x.size()) == 0;
}

// As transformers 5 ties: shared when config says so, unless both are stored and differ; either one alone serves both.
// Where config.json does not say, a stored head is its own.
void settle_tying(DecoderConfig& config, const formats::WeightFiles& files, MappedWeights& source,
                  std::vector<std::string>* warnings) {
  const std::string embedding_name = embedding_of(*config.blocks), head_name = config.blocks->head.name + ".weight";
  const auto* embedding = files.find(source.stored_name(embedding_name));
  const auto* head = files.find(head_name);
  if (files.find(kScore) != nullptr) {  // transformers' …ForSequenceClassification has it in lm_head's place
    source.pass_over(kScore);
    if (head == nullptr && !(config.tied && config.tied_stated)) {
      config.tied = config.tied_stated = true;
      if (warnings != nullptr) {
        warnings->push_back(
            "the weights are a sequence classifier's: there is a score head and no lm_head, so the text that "
            "this model generates means nothing");
      }
    }
  }
  if (!config.tied_stated) config.tied = head == nullptr;
  if (!config.tied || head == nullptr) return;
  if (embedding == nullptr) {
    source.alias(embedding_name, head_name);
  } else if (same_bytes(*embedding, *head)) {
    source.pass_over(head_name);
  } else {
    config.tied = false;
    if (warnings != nullptr) {
      warnings->push_back(
          "config.json ties the head to the embedding, but the weights store a head that differs; the "
          "stored head is used, as transformers does");
    }
  }
}

void check_tokenizer(const data::Tokenizer& tokenizer, const DecoderConfig& config) {
  if (tokenizer.size() <= config.vocab_size) return;
  throw ModelError(
      fmt::format("{}: the tokenizer's largest id is {}, but the model's embedding has {} rows; the tokenizer "
                  "does not belong to this model",
                  tokenizer.files().empty() ? "tokenizer" : tokenizer.files().front().string(), tokenizer.size() - 1,
                  config.vocab_size));
}

}  // namespace

Decoder load_decoder(DecoderConfig config, const formats::WeightFiles& weights, at::ScalarType dtype, bool trainable,
                     std::vector<std::string>* warnings, at::Device device) {
  MappedWeights source(weights, trainable ? at::kFloat : dtype, trainable, embedding_of(*config.blocks), device);
  settle_prefix(*config.blocks, weights, source);
  settle_tying(config, weights, source, warnings);
  auto decoder = std::make_shared<DecoderImpl>(config, source);
  source.check_complete();
  return decoder;
}

LoadedModel load(const std::string& model, const LoadOptions& options, core::ProgressObserver* progress) {
  const Resolved resolved = resolve(model);
  LoadedModel loaded;
  loaded.path = resolved.model;
  loaded.name = resolved.name;
  const DecoderConfig config = read_config(resolved.model);
  loaded.weights = formats::WeightFiles::open(resolved.model);
  DTypeDecision decision = choose_dtype(options.dtype, loaded.weights);
  if (options.trainable) decision = {at::kFloat, "float32: every weight is trained"};
  loaded.dtype_reason = decision.reason;
  if (!config.unknown_keys.empty()) {
    loaded.warnings.push_back(fmt::format("config.json has keys that are not known and are ignored: {}",
                                          fmt::join(config.unknown_keys, ", ")));
  }
  loaded.warnings.insert(loaded.warnings.end(), config.notes.begin(), config.notes.end());
  loaded.tokenizer = data::Tokenizer::load(resolved.model);
  check_tokenizer(*loaded.tokenizer, config);
  loaded.decoder =
      load_decoder(config, loaded.weights, decision.dtype, options.trainable, &loaded.warnings, options.device);
  loaded.decoder->base_name = resolved.name;
  if (progress != nullptr) {
    for (const std::string& warning : loaded.warnings) progress->warning(warning);
  }
  return loaded;
}

}  // namespace lowrank::models
