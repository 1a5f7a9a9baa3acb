#include "lowrank/models/load.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/progress_scope.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/limited.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/kernels/failure.h"
#include "lowrank/models/description.h"
#include "lowrank/models/mapped_weights.h"

namespace lowrank::models {
namespace {

constexpr const char* kScore = "score.weight";

std::string embedding_of(const DecoderSpec& spec) { return spec.prefix + spec.embedding.name + ".weight"; }

// The prefix under which the files have the embedding: the model's own where none has it. Other classes that hold the
// same decoder give its modules other names: one that reads pictures too, the decoder without a head.
void settle_prefix(const DecoderSpec& spec, const formats::WeightFiles& files, MappedWeights& source) {
  std::vector<std::string> prefixes = {spec.prefix};
  prefixes.insert(prefixes.end(), spec.stored_prefixes.begin(), spec.stored_prefixes.end());
  for (const char* other : {"model.", "model.language_model.", "language_model.model.", "language_model.", ""}) {
    prefixes.emplace_back(other);
  }
  for (const std::string& prefix : prefixes)
    if (files.find(prefix + spec.embedding.name + ".weight") != nullptr) return source.rename(spec.prefix, prefix);
}

// The same of the head.
void settle_head(const HeadSpec& head, const formats::WeightFiles& files, MappedWeights& source) {
  for (const std::string& name : {head.name, "language_model." + head.name, head.stored_name})
    if (!name.empty() && files.find(name + ".weight") != nullptr) return source.rename(head.name + ".", name + ".");
}

bool same_bytes(const formats::WeightFiles::Entry& a, const formats::WeightFiles::Entry& b) {
  const auto x = a.bytes(), y = b.bytes();
  return a.info->dtype == b.info->dtype && a.info->shape == b.info->shape && x.size() == y.size() &&
         std::memcmp(x.data(), y.data(), x.size()) == 0;
}

// As transformers 5 ties: shared when config says so, unless both are stored and differ; either one alone serves both.
// Where config.json does not say, a stored head is its own.
void settle_tying(DecoderConfig& config, formats::WeightFiles& files, MappedWeights& source,
                  std::vector<std::string>* warnings) {
  const std::string embedding_name = embedding_of(*config.blocks);
  const std::string head_name = source.stored_name(config.blocks->head.name + ".weight");
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
  if (!config.tied_stated) {
    const bool by_default = config.tied;
    config.tied = head == nullptr;
    if (config.tied && !by_default && warnings != nullptr)
      warnings->push_back("there is no lm_head among the weights, and config.json does not say tie_word_embeddings: the embedding is the "
                          "head");
  }
  if (!config.tied || head == nullptr) return;
  if (embedding == nullptr) {
    files.rename(head_name, source.stored_name(embedding_name));
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

// Ids that the tokenizer knows and the embedding lacks (a padding token that was added on top, say) are refused where
// they occur.
void limit_tokenizer(LoadedModel& loaded, const DecoderConfig& config) {
  const std::int64_t beyond = loaded.tokenizer->size() - config.vocab_size;
  if (beyond <= 0) return;
  loaded.warnings.push_back(
      fmt::format("the tokenizer's largest id is {}, but the model's embedding has {} rows; a text with a token beyond "
                  "them ('{}') is refused",
                  loaded.tokenizer->size() - 1, config.vocab_size,
                  core::printable(loaded.tokenizer->id_to_token(static_cast<data::TokenId>(config.vocab_size)))));
  loaded.tokenizer = data::limited(loaded.tokenizer, static_cast<data::TokenId>(config.vocab_size));
}

// Tensors that are passed over, counted by the part that they belong to, in words.
std::string in_words(const std::vector<std::string>& names) {
  std::map<std::string, int> parts;
  for (const std::string& name : names) {
    const std::size_t from = name.starts_with("model.") ? 6 : 0;
    ++parts[name.substr(0, name.find('.', from))];
  }
  std::vector<std::string> counted;
  for (const auto& [part, count] : parts) counted.push_back(fmt::format("{} of {}", count, part));
  return fmt::format("the weights have tensors that no forward pass of text reads, and they are passed over: {}",
                     fmt::join(counted, ", "));
}

}  // namespace

Decoder load_decoder(DecoderConfig config, formats::WeightFiles weights, at::ScalarType dtype, bool trainable,
                     std::vector<std::string>* warnings, at::Device device, const GrownVocabulary* grown,
                     CodedLoad* coded, core::ProgressObserver* progress,
                     const std::shared_ptr<kernels::ShardedBase>& shares) {
  if (warnings != nullptr) warnings->insert(warnings->end(), weights.notes().begin(), weights.notes().end());
  MappedWeights source(weights, trainable ? at::kFloat : dtype, trainable, embedding_of(*config.blocks), device);
  settle_head(config.blocks->head, weights, source);
  settle_prefix(*config.blocks, weights, source);
  source.respell(config.blocks->own_spelling, config.blocks->older_spelling);
  settle_tying(config, weights, source, warnings);
  const std::int64_t file_rows = grown == nullptr ? 0 : config.vocab_size;
  if (grown != nullptr) {
    const auto grow = [&](const std::string& name, const at::Tensor& own) {
      const auto* entry = weights.find(source.stored_name(name));
      if (!own.defined() && entry == nullptr) return;  // said when it is asked for
      source.replace(name, own.defined() ? own : with_further_rows(formats::tensor_view(*entry), grown->rows, grown->begin));
    };
    config.vocab_size = grown->rows;
    grow(embedding_of(*config.blocks), grown->embedding);
    if (!config.tied) grow(config.blocks->head.name + ".weight", grown->head);
  }
  for (const std::string& module : config.blocks->unread) {
    const std::string stored = source.stored_name(config.blocks->prefix + module + ".");
    for (const std::string& name : weights.names()) {
      if (name.starts_with(stored)) source.pass_over(name);
    }
  }
  if (coded != nullptr && coded->form != kernels::BaseForm::kAsStored) {
    source.code(coded->form);
    { const DecoderImpl without(config, source); }  // asks for every weight, and reads none
    source.check_complete(config.layers);
    coded->sha256 = weights_sha256(weights, progress);
    coded->base = CodedBase::open(coded->form, weights, coded->sha256, source.wanted(), progress);
    source.use(coded->base);
  }
  if (shares != nullptr) source.share_out(shares, config.blocks->prefix + config.blocks->layer_scope + ".");
  auto decoder = std::make_shared<DecoderImpl>(config, source);
  decoder->beside = source.check_complete(config.layers);
  if (shares != nullptr) shares->open();
  decoder->file_rows = file_rows;
  if (warnings != nullptr && !decoder->beside.empty()) warnings->push_back(in_words(decoder->beside));
  return decoder;
}

std::string weights_sha256(const formats::WeightFiles& weights, core::ProgressObserver* progress) {
  const auto& files = weights.files();
  const core::ProgressScope checking(progress, "checking the model's files", static_cast<std::int64_t>(files.size()),
                                     "files");
  std::string all;
  for (const auto& file : files) all += core::sha256_file(core::FileRef::named(file->path())) + "\n";
  return core::sha256(all);
}

std::shared_ptr<const data::Tokenizer> adapter_tokenizer(const std::filesystem::path& adapter,
                                                         const DecoderConfig& config) {
  if (!data::Tokenizer::is_in(adapter)) return nullptr;
  auto tokenizer = data::Tokenizer::load(adapter);
  if (tokenizer->size() > config.vocab_size)
    return data::limited(tokenizer, static_cast<data::TokenId>(config.vocab_size));
  return tokenizer;
}

std::vector<data::TokenId> adapter_end_ids(const std::filesystem::path& adapter) {
  std::vector<data::TokenId> ids;
  for (const std::int64_t id : end_token_ids(adapter / "generation_config.json"))
    ids.push_back(static_cast<data::TokenId>(id));
  return ids;
}

LoadedModel load(const std::string& model, const LoadOptions& options, core::ProgressObserver* progress) {
  kernels::throw_when_memory_ends();
  const Resolved resolved = resolve(model);
  LoadedModel loaded;
  loaded.path = resolved.model;
  loaded.name = resolved.name;
  DecoderConfig config = read_config(resolved.model);
  loaded.weights = formats::WeightFiles::open(resolved.model);
  DTypeDecision decision = choose_dtype(options.dtype, loaded.weights, options.device);
  if (options.trainable && options.form != kernels::BaseForm::kAsStored)
    throw InternalError("models::load: weights in codes cannot be trained");
  if (options.shares != nullptr && (options.trainable || options.form != kernels::BaseForm::kAsStored))
    throw InternalError("models::load: shares are kept of a frozen base as its files have it");
  loaded.coded.form = options.form;
  if (options.trainable) decision = {at::kFloat, "float32: every weight is trained"};
  loaded.dtype_reason = decision.reason;
  if (!config.unknown_keys.empty()) {
    loaded.warnings.push_back(fmt::format("config.json has keys that are not known and are ignored: {}",
                                          core::printable(fmt::format("{}", fmt::join(config.unknown_keys, ", ")), 400)));
  }
  loaded.warnings.insert(loaded.warnings.end(), config.notes.begin(), config.notes.end());
  loaded.tokenizer = data::Tokenizer::load(resolved.model);
  std::shared_ptr<const GrownVocabulary> grown = options.grown;
  if (options.adapter) {
    if (auto own = grown_vocabulary(*options.adapter, config)) {
      grown = std::make_shared<const GrownVocabulary>(std::move(*own));
      loaded.warnings.push_back(
          fmt::format("the adapter was trained on a base whose vocabulary had been resized: its {} rows are taken, in "
                      "place of the model's {}",
                      grown->rows, config.vocab_size));
    }
  }
  loaded.grown = grown != nullptr;
  if (loaded.grown && options.shares != nullptr)
    throw ConfigError("`shard-base` keeps shares of the model's own vocabulary, and this run has further rows; leave it out");
  DecoderConfig resized = config;
  if (grown) resized.vocab_size = grown->rows;
  limit_tokenizer(loaded, resized);
  loaded.decoder = load_decoder(config, loaded.weights, decision.dtype, options.trainable, &loaded.warnings,
                                options.device, grown.get(), &loaded.coded, progress, options.shares);
  loaded.shares = options.shares;
  loaded.decoder->base_name = resolved.base_name;
  if (progress != nullptr) {
    for (const std::string& link : loaded.weights.links()) progress->note(link);
    for (const std::string& warning : loaded.warnings) progress->warning(warning);
  }
  return loaded;
}

}  // namespace lowrank::models
