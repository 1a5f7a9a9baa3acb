// Making a decoder from its weights, and listing what it is made of.
#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <string>

#include "lowrank/models/decoder.h"
#include "lowrank/models/decoder_layer.h"
#include "lowrank/models/rope.h"

namespace lowrank::models {
namespace {

constexpr const char* kEmbedding = "model.embed_tokens";
constexpr const char* kEmbeddingWeight = "model.embed_tokens.weight";
constexpr const char* kFinalNorm = "model.norm";
constexpr const char* kHead = "lm_head";

// In the run's dtype; a tensor that is trained is in it already and must stay the leaf that it is.
at::Tensor in_dtype(const at::Tensor& tensor, at::ScalarType dtype) {
  return tensor.scalar_type() == dtype ? tensor : tensor.to(dtype);
}

}  // namespace

DecoderImpl::DecoderImpl(DecoderConfig config, WeightSource& weights)
    : module_(lora::holder_module("Decoder")),
      config_(std::move(config)),
      dtype_(weights.dtype()),
      frequencies_(inverse_frequencies(config_)) {
  const at::Tensor embedding = weights.take(kEmbeddingWeight, {config_.vocab_size, config_.hidden_size});
  for (std::int64_t i = 0; i < config_.layers; ++i) layers_.push_back(make_layer(i, weights));
  norm_ = make_norm(kFinalNorm, config_.hidden_size, weights);
  if (config_.tied) {
    head_ = std::make_shared<lora::LinearSlotImpl>(kHead, kernels::BaseWeight::dense(embedding));
    lora::add_module(module_, kHead, head_->module());
  } else {
    head_ = make_slot(kHead, config_.hidden_size, config_.vocab_size, false, weights);
  }
  embed_ = std::make_shared<lora::EmbeddingSlotImpl>(kEmbedding, kernels::BaseWeight::dense(embedding));
}

lora::LinearSlot DecoderImpl::make_slot(const std::string& path, std::int64_t in, std::int64_t out, bool bias,
                                        WeightSource& weights) {
  const at::Tensor weight = weights.take(path + ".weight", {out, in});
  const at::Tensor bias_values = bias ? in_dtype(weights.take(path + ".bias", {out}), dtype_) : at::Tensor();
  const auto slot = std::make_shared<lora::LinearSlotImpl>(path, kernels::BaseWeight::dense(weight, bias_values));
  std::string name = path;  // module names hold no dots
  for (char& c : name) c = c == '.' ? '_' : c;
  lora::add_module(module_, name, slot->module());
  return slot;
}

lora::WholeModule DecoderImpl::make_norm(const std::string& path, std::int64_t width, WeightSource& weights) {
  const at::Tensor weight = in_dtype(weights.take(path + ".weight", {width}), dtype_);
  return std::make_shared<lora::WholeModuleImpl>(path, std::vector<lora::NamedTensor>{{"weight", weight}});
}

std::vector<lora::WholeModule> DecoderImpl::norms() const {
  std::vector<lora::WholeModule> all;
  for (const auto& layer : layers_) {
    for (const lora::WholeModule& norm : layer->norms()) all.push_back(norm);
  }
  all.push_back(norm_);
  return all;
}

std::shared_ptr<DecoderImpl::Layer> DecoderImpl::make_layer(std::int64_t index, WeightSource& weights) {
  const std::int64_t d = config_.hidden_size, f = config_.intermediate_size;
  const std::int64_t q_width = config_.heads * config_.head_dim, kv_width = config_.kv_heads * config_.head_dim;
  auto layer = std::make_shared<Layer>();
  layer->prefix = "model.layers." + std::to_string(index) + ".";
  const std::string attention = layer->prefix + "self_attn.", mlp = layer->prefix + "mlp.";
  layer->q = make_slot(attention + "q_proj", d, q_width, config_.qkv_bias, weights);
  layer->k = make_slot(attention + "k_proj", d, kv_width, config_.qkv_bias, weights);
  layer->v = make_slot(attention + "v_proj", d, kv_width, config_.qkv_bias, weights);
  layer->o = make_slot(attention + "o_proj", q_width, d, config_.o_bias, weights);
  layer->gate = make_slot(mlp + "gate_proj", d, f, config_.mlp_bias, weights);
  layer->up = make_slot(mlp + "up_proj", d, f, config_.mlp_bias, weights);
  layer->down = make_slot(mlp + "down_proj", f, d, config_.mlp_bias, weights);
  layer->input_norm = make_norm(layer->prefix + "input_layernorm", d, weights);
  layer->post_norm = make_norm(layer->prefix + "post_attention_layernorm", d, weights);
  if (config_.qk_norm) {
    layer->q_norm = make_norm(attention + "q_norm", config_.head_dim, weights);
    layer->k_norm = make_norm(attention + "k_norm", config_.head_dim, weights);
  }
  return layer;
}

lora::SlotTable DecoderImpl::slot_table() const {
  lora::SlotTable table;
  for (const auto& layer : layers_) {
    for (const lora::LinearSlot& slot : layer->slots()) table.slots.push_back(slot);
  }
  table.slots.push_back(head_);
  table.head = kHead;
  table.layers = config_.layers;
  table.base_name = base_name;
  table.embedding = embed_;
  table.whole = norms();
  table.others.push_back(embed_->path());
  for (const lora::WholeModule& norm : table.whole) table.others.push_back(norm->path());
  return table;
}

std::vector<lora::NamedTensor> DecoderImpl::named_weights() const {
  std::vector<lora::NamedTensor> all;
  const auto add = [&](const lora::WholeModule& module) {
    for (const lora::NamedTensor& own : module->base()) all.push_back({module->path() + "." + own.name, own.tensor});
  };
  add(embed_->whole());
  for (const auto& layer : layers_) {
    for (const lora::LinearSlot& slot : layer->slots()) add(slot->whole());
    for (const lora::WholeModule& norm : layer->norms()) add(norm);
  }
  add(norm_);
  if (!config_.tied) add(head_->whole());
  return all;
}

void DecoderImpl::rebind() {
  for (const auto& layer : layers_) {
    for (lora::LinearSlot slot : layer->slots()) slot->rebind();
  }
  head_->rebind();
}

}  // namespace lowrank::models
