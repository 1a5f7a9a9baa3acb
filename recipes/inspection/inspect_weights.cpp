// Models and .safetensors files.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "lowrank/core/error.h"
#include "lowrank/core/table.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/tokenizer.h"
#include "lowrank/formats/safetensors.h"
#include "lowrank/models/blocks/attention.h"
#include "lowrank/models/blocks/experts.h"
#include "lowrank/models/blocks/gated_delta.h"
#include "lowrank/models/blocks/short_conv.h"
#include "lowrank/models/config.h"
#include "lowrank/models/description.h"
#include "lowrank/recipes/inspection/inspect.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;
using core::Json;

/// Counts over tensors, and the list of them.
struct TensorSummary {
  std::int64_t count = 0, elements = 0;
  std::uint64_t bytes = 0;
  std::map<std::string, std::int64_t> dtypes;  // name -> tensors
  Json list = Json::array();
  std::vector<std::vector<std::string>> rows;

  void add(const formats::TensorInfo& info) {
    std::int64_t n = 1;
    std::string shape;
    for (const std::int64_t size : info.shape) {
      n *= size;
      shape += fmt::format("{}{}", shape.empty() ? "" : "×", size);
    }
    const std::string dtype(formats::dtype_name(info.dtype));
    ++count;
    elements += n;
    bytes += info.end - info.begin;
    ++dtypes[dtype];
    list.push_back({{"name", info.name}, {"dtype", dtype}, {"shape", info.shape}, {"bytes", info.end - info.begin}});
    rows.push_back({info.name, dtype, shape.empty() ? "scalar" : shape, core::format_bytes(info.end - info.begin)});
  }
  std::string dtype_text() const {
    std::string text;
    for (const auto& [name, n] : dtypes) text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", name, n);
    return text;
  }
  std::string list_text() const {
    return fmt::format("\n{}", core::table({"tensor", "dtype", "shape", "bytes"}, rows));
  }
  void into(Json& json) const {
    json["tensors"] = count;
    json["elements"] = elements;
    json["bytes"] = bytes;
    json["dtypes"] = dtypes;
  }
};

/// What the layers have in common, as far as their mixers are attention and their MLPs dense.
struct Blocks {
  models::AttentionSpec attention;  // of the first layer that has one
  std::int64_t mlp_width = 0, windows = 0, window = 0;
  std::shared_ptr<const models::ExpertsMlpSpec> experts;  // of the first layer that has a mixture
  std::int64_t mixtures = 0;
  std::string state;  // of layers that carry one instead of keys and values: what they are, in words
  std::int64_t states = 0;
};

// A mixer that carries a state, in words; empty: it is none.
std::string state_text(const models::MixerSpec& mixer) {
  if (const auto* delta = dynamic_cast<const models::GatedDeltaSpec*>(&mixer)) {
    const auto& shape = delta->shape;
    return fmt::format(
        "the gated delta rule ({} heads of keys {} wide, {} of values {} wide, a convolution over {} tokens)",
        shape.key_heads, shape.key_dim, shape.value_heads, shape.value_dim, delta->taps);
  }
  if (const auto* conv = dynamic_cast<const models::ShortConvSpec*>(&mixer)) {
    return fmt::format("a gated convolution over {} tokens", conv->taps);
  }
  return "";
}

Blocks blocks_of(const models::DecoderConfig& config) {
  Blocks result;
  for (const models::LayerSpec& layer : config.blocks->layers) {
    if (const auto* mlp = dynamic_cast<const models::DenseMlpSpec*>(layer.mlp.get())) {
      result.mlp_width = std::max(result.mlp_width, mlp->width);
    }
    if (const auto experts = std::dynamic_pointer_cast<const models::ExpertsMlpSpec>(layer.mlp)) {
      if (result.experts == nullptr) result.experts = experts;
      ++result.mixtures;
    }
    const std::string state = state_text(*layer.mixer);
    if (!state.empty()) result.state = state, ++result.states;
    const auto* attention = dynamic_cast<const models::AttentionSpec*>(layer.mixer.get());
    if (attention == nullptr) continue;
    if (result.attention.heads == 0) result.attention = *attention;
    if (attention->window) ++result.windows, result.window = *attention->window;
  }
  return result;
}

std::string attention_text(const Blocks& blocks) {
  const models::AttentionSpec& attention = blocks.attention;
  std::string text =
      fmt::format("{} heads, {} of keys and values, {} wide", attention.heads, attention.kv_heads, attention.head_dim);
  if (blocks.windows > 0) {
    text += fmt::format("; window of {} in {} layers", core::format_count(blocks.window), blocks.windows);
  }
  if (attention.q_norm.kind != models::NormSpec::Kind::kNone) text += "; norms on queries and keys";
  if (attention.qkv_bias) text += "; bias";
  if (attention.gate) text += "; gated";
  if (blocks.states > 0) text += fmt::format("; in {} layers in its place {}", blocks.states, blocks.state);
  return text;
}

std::string parameters_text(const models::DecoderConfig& config) {
  const std::int64_t all = config.parameter_count(), active = config.active_parameter_count();
  std::string text = core::format_count(all);
  if (active != all) text += fmt::format(", of which a token passes through {}", core::format_count(active));
  return text;
}

std::string mlp_text(const Blocks& blocks) {
  std::string text;
  if (blocks.mlp_width > 0) text = fmt::format("MLP {}", core::format_count(blocks.mlp_width));
  if (blocks.experts == nullptr) return text;
  return fmt::format("{}{}{} experts of {} in {} layers, {} a token{}", text, text.empty() ? "" : "; ",
                     blocks.experts->experts, core::format_count(blocks.experts->width), blocks.mixtures,
                     blocks.experts->per_token, blocks.experts->shared != nullptr ? " and a shared one" : "");
}

std::string positions_text(const models::DecoderConfig& config) {
  std::string text = core::format_count(config.max_positions);
  for (const models::RotarySpec& rotary : config.blocks->rotary) {
    text += fmt::format(", rotary base {:g}", rotary.theta);
    if (rotary.scaling.kind == models::RopeScaling::Kind::kLinear) {
      text += fmt::format(", scaled linearly by {:g}", rotary.scaling.factor);
    } else if (rotary.scaling.kind == models::RopeScaling::Kind::kLlama3) {
      text += fmt::format(", llama3 scaling by {:g} from {}", rotary.scaling.factor,
                          core::format_count(rotary.scaling.original_max_position_embeddings));
    }
  }
  return text;
}

/// The tokenizer in words and as JSON; one that cannot be read is said, not thrown: the rest of the model may be of
/// interest.
std::pair<std::string, Json> tokenizer_of(const fs::path& directory) {
  try {
    const auto tokenizer = data::Tokenizer::load(directory);
    Json json = {{"size", tokenizer->size()},
                 {"adds_bos", tokenizer->adds_bos()},
                 {"chat_template", tokenizer->has_chat_template()}};
    json["bos"] = tokenizer->bos() ? Json(*tokenizer->bos()) : Json(nullptr);
    json["eos"] = tokenizer->eos() ? Json(*tokenizer->eos()) : Json(nullptr);
    std::string text = fmt::format("{} tokens", core::format_count(tokenizer->size()));
    if (tokenizer->bos()) text += ", BOS " + core::printable(tokenizer->id_to_token(*tokenizer->bos()));
    if (tokenizer->eos()) text += ", EOS " + core::printable(tokenizer->id_to_token(*tokenizer->eos()));
    return {text + (tokenizer->has_chat_template() ? ", with a chat template" : ""), json};
  } catch (const Error& error) {
    return {std::string("not usable: ") + error.what(), {{"error", error.what()}}};
  }
}

}  // namespace

Inspection inspect_model(const fs::path& directory, bool tensors) {
  const models::DecoderConfig config = models::read_config(directory);
  const Blocks blocks = blocks_of(config);
  const formats::WeightFiles weights = formats::WeightFiles::open(directory);
  TensorSummary summary;
  for (const std::string& name : weights.names()) summary.add(*weights.find(name)->info);
  const auto [tokenizer_text, tokenizer_json] = tokenizer_of(directory);

  Inspection result;
  Json files = Json::array();
  for (const auto& file : weights.files()) files.push_back(file->path().filename().string());
  Json& json = result.json;
  json = {{"kind", "model"},
          {"path", directory.string()},
          {"model_type", config.model_type},
          {"parameters", config.parameter_count()},
          {"active_parameters", config.active_parameter_count()},
          {"experts", blocks.experts == nullptr ? 0 : blocks.experts->experts},
          {"experts_per_token", blocks.experts == nullptr ? 0 : blocks.experts->per_token},
          {"layers", config.layers},
          {"hidden_size", config.hidden_size},
          {"intermediate_size", blocks.mlp_width},
          {"heads", blocks.attention.heads},
          {"kv_heads", blocks.attention.kv_heads},
          {"head_dim", blocks.attention.head_dim},
          {"vocab_size", config.vocab_size},
          {"positions", config.max_positions},
          {"tied", config.tied},
          {"files", files},
          {"tokenizer", tokenizer_json},
          {"unknown_config_keys", config.unknown_keys}};
  summary.into(json);
  if (tensors) json["tensor_list"] = summary.list;

  std::vector<std::pair<std::string, std::string>> rows = {
      {"model", fmt::format("{} ({})", directory.string(), config.model_type)},
      {"parameters", parameters_text(config)},
      {"layers", fmt::format("{}, {} wide, {}{}", config.layers, core::format_count(config.hidden_size),
                             mlp_text(blocks), config.tied ? ", head tied to the embedding" : "")},
      {"attention", attention_text(blocks)},
      {"positions", positions_text(config)},
      {"vocabulary", core::format_count(config.vocab_size)},
      {"tokenizer", tokenizer_text},
      {"weights", fmt::format("{} tensors in {} file{}, {}", core::format_count(summary.count), weights.files().size(),
                              weights.files().size() == 1 ? "" : "s", core::format_bytes(summary.bytes))},
      {"dtypes", summary.dtype_text()},
  };
  if (!config.unknown_keys.empty()) {
    rows.emplace_back(
        "unknown", fmt::format("config.json keys that are not known here: {}", fmt::join(config.unknown_keys, ", ")));
  }
  result.text = core::fields(rows) + (tensors ? summary.list_text() : "");
  return result;
}

Inspection inspect_safetensors(const fs::path& file) {
  const auto opened = formats::SafetensorsFile::open(file);
  TensorSummary summary;
  for (const formats::TensorInfo& info : opened->header().tensors) summary.add(info);
  Inspection result;
  result.json = {{"kind", "safetensors"}, {"path", file.string()}, {"metadata", opened->header().metadata}};
  summary.into(result.json);
  result.json["tensor_list"] = summary.list;
  std::string metadata;
  for (const auto& [key, value] : opened->header().metadata) {
    metadata += fmt::format("{}{}={}", metadata.empty() ? "" : ", ", core::printable(key), core::printable(value));
  }
  result.text =
      core::fields({{"file", file.string()},
                    {"tensors", fmt::format("{}, {} numbers, {}", core::format_count(summary.count),
                                            core::format_count(summary.elements), core::format_bytes(summary.bytes))},
                    {"dtypes", summary.dtype_text()},
                    {"metadata", metadata.empty() ? "none" : metadata}}) +
      summary.list_text();
  return result;
}

}  // namespace lowrank::recipes
