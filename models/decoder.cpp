// The forward pass.
#include "lowrank/models/decoder.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "lowrank/core/error.h"
#include "lowrank/kernels/checkpoint.h"
#include "lowrank/kernels/neftune.h"
#include "lowrank/kernels/smoothed_cross_entropy.h"
#include "lowrank/models/decoder_layer.h"
#include "lowrank/models/head_loss.h"
#include "lowrank/models/rope.h"

namespace lowrank::models {
namespace {

// What a layer needs beside x; kept alive by the closures that run it again in the backward pass.
struct Pass {
  kernels::Segments segments;
  kernels::RotaryTables tables;
  std::optional<kernels::DropoutContext> dropout;
  ForwardOptions options;

  Pass(const kernels::Segments& s, kernels::RotaryTables t, const ForwardOptions& o)
      : segments(s), tables(std::move(t)), options(o) {
    if (o.dropout == nullptr) return;
    dropout = *o.dropout;
    options.dropout = &*dropout;
  }
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;
};

}  // namespace

std::int64_t DecoderImpl::first_trained_layer() const {
  if (embed_->trains()) return 0;
  for (std::int64_t i = 0; i < config_.layers; ++i) {
    const Layer& layer = *layers_[static_cast<std::size_t>(i)];
    for (const lora::WholeModule& norm : layer.norms()) {
      if (norm->current("weight").requires_grad()) return i;
    }
    for (const lora::LinearSlot& slot : layer.slots()) {
      if (slot->trains()) return i;
    }
  }
  return config_.layers;
}

at::Tensor DecoderImpl::embed(const at::Tensor& ids) const {
  const at::Tensor flat = ids.contiguous();
  const std::int64_t* id = flat.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < flat.numel(); ++i) {
    if (id[i] >= 0 && id[i] < config_.vocab_size) continue;
    throw ModelError(
        fmt::format("token id {} at place {} is outside the model's vocabulary of {} rows; the tokenizer does "
                    "not belong to this model",
                    id[i], i, config_.vocab_size));
  }
  return embed_->forward(flat, dtype_);
}

at::Tensor DecoderImpl::normed(const at::Tensor& x, const lora::WholeModule& norm) const {
  return kernels::rms_norm(x, norm->current("weight").to(dtype_), config_.norm_eps);
}

at::Tensor DecoderImpl::layer_forward(Layer& layer, std::int64_t index, const at::Tensor& x,
                                      const kernels::Segments& segments, const kernels::RotaryTables& tables,
                                      const ForwardOptions& options) {
  const std::int64_t head_dim = config_.head_dim;
  const kernels::DropoutContext* dropout = options.dropout;

  const at::Tensor h = normed(x, layer.input_norm);
  at::Tensor q = layer.q->forward(h, dropout).view({-1, config_.heads, head_dim});
  at::Tensor k = layer.k->forward(h, dropout).view({-1, config_.kv_heads, head_dim});
  at::Tensor v = layer.v->forward(h, dropout).view({-1, config_.kv_heads, head_dim});
  if (config_.qk_norm) {
    q = normed(q, layer.q_norm);
    k = normed(k, layer.k_norm);
  }
  q = kernels::rotary(q, tables);
  k = kernels::rotary(k, tables);
  if (options.cache != nullptr) std::tie(k, v) = options.cache->append(index, k, v, segments);

  const kernels::AttentionOptions attention{.scale = 1 / std::sqrt(static_cast<double>(head_dim)),
                                            .window = config_.windows[static_cast<std::size_t>(index)]};
  const at::Tensor mixed = kernels::attention(q, k, v, segments, attention).reshape({-1, config_.heads * head_dim});
  const at::Tensor y = x.add(layer.o->forward(mixed, dropout));

  const at::Tensor g = normed(y, layer.post_norm);
  const at::Tensor gated = kernels::swiglu(layer.gate->forward(g, dropout), layer.up->forward(g, dropout));
  return y.add(layer.down->forward(gated, dropout));
}

at::Tensor DecoderImpl::hidden(const at::Tensor& ids, const kernels::Segments& segments,
                               const ForwardOptions& options) {
  const auto pass = std::make_shared<const Pass>(segments, rotary_tables(segments.positions(), frequencies_), options);
  const auto run = [this, pass](std::int64_t index, const at::Tensor& x) {
    return layer_forward(*layers_[static_cast<std::size_t>(index)], index, x, pass->segments, pass->tables,
                         pass->options);
  };
  at::Tensor x = embed(ids);
  if (options.neftune != 0 && options.dropout != nullptr) {
    x = x.add(kernels::neftune_noise(segments, x.size(1), options.neftune, *options.dropout).to(x.scalar_type()));
  }
  const std::int64_t first = at::GradMode::is_enabled() ? first_trained_layer() : config_.layers;
  {
    at::NoGradGuard nothing_to_train;
    for (std::int64_t i = 0; i < first; ++i) x = run(i, x);
  }
  const bool recompute = options.recompute && first < config_.layers;
  // The recomputation needs an input that requires grad, or the gradients of what is inside would be lost.
  if (recompute && !x.requires_grad()) x = x.detach().requires_grad_(true);
  for (std::int64_t i = first; i < config_.layers; ++i) {
    x = recompute ? kernels::checkpoint([run, i](const at::Tensor& input) { return run(i, input); }, x) : run(i, x);
  }
  return normed(x, norm_);
}

at::Tensor DecoderImpl::logits(const at::Tensor& hidden) { return head_->forward(hidden).to(at::kFloat); }

at::Tensor DecoderImpl::token_losses(const at::Tensor& hidden, const at::Tensor& labels,
                                     const kernels::DropoutContext* dropout, double label_smoothing) {
  const kernels::BaseWeight head = head_->current();
  const bool plain = !head_->merged() && !head_->enabled() && !head.bias().defined();
  if (plain) return kernels::smoothed_cross_entropy(hidden, head, labels, label_smoothing);
  return adapted_head_losses(head_, hidden, labels, dropout, label_smoothing);
}

}  // namespace lowrank::models
