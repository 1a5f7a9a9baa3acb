// The forward pass.
#include "lowrank/models/decoder.h"

#include <ATen/core/grad_mode.h>

#include <optional>

#include "lowrank/kernels/checkpoint.h"
#include "lowrank/kernels/neftune.h"
#include "lowrank/models/decoder_parts.h"

namespace lowrank::models {
namespace {

// What a layer needs beside x; kept alive by the closures that run it again in the backward pass.
struct Pass {
  kernels::Segments segments;
  RotaryPass rotary;
  std::optional<kernels::DropoutContext> dropout;

  Pass(const kernels::Segments& s, RotaryPass r, const kernels::DropoutContext* d)
      : segments(s), rotary(std::move(r)), dropout(d == nullptr ? std::nullopt : std::optional(*d)) {}

  LayerPass layer() const { return {segments, rotary, dropout ? &*dropout : nullptr}; }
};

}  // namespace

std::size_t DecoderImpl::first_trained_layer() const {
  if (parts_->embedding->slot()->trains() || parts_->modules.front().trains()) return 0;
  for (std::size_t i = 0; i < parts_->layers.size(); ++i) {
    if (parts_->modules[i + 1].trains()) return i;
  }
  return parts_->layers.size();
}

at::Tensor DecoderImpl::hidden(const at::Tensor& ids, const kernels::Segments& segments,
                               const ForwardOptions& options) {
  const auto pass =
      std::make_shared<const Pass>(segments, RotaryPass(config_.blocks->rotary, segments, device()), options.dropout);
  const auto run = [this, pass, cache = options.cache](std::size_t i, const at::Tensor& x) {
    const Layer& layer = parts_->layers[i];
    return layer.forward(x, pass->layer(), cache == nullptr ? nullptr : &cache->state(i, layer.mixer()));
  };
  at::Tensor noise;
  if (options.neftune != 0 && options.dropout != nullptr) {
    noise = kernels::neftune_noise(segments, config_.hidden_size, options.neftune, *options.dropout);
  }
  at::Tensor x = parts_->embedding->forward(ids, segments, noise);
  const std::size_t layers = parts_->layers.size();
  const std::size_t first = at::GradMode::is_enabled() ? first_trained_layer() : layers;
  {
    at::NoGradGuard nothing_to_train;
    for (std::size_t i = 0; i < first; ++i) x = run(i, x);
  }
  const bool recompute = options.recompute && first < layers;
  // The recomputation needs an input that requires grad, or the gradients of what is inside would be lost.
  if (recompute && !x.requires_grad()) x = x.detach().requires_grad_(true);
  for (std::size_t i = first; i < layers; ++i) {
    x = recompute ? kernels::checkpoint([run, i](const at::Tensor& input) { return run(i, input); }, x) : run(i, x);
  }
  if (options.cache != nullptr) options.cache->advance(segments);
  return parts_->norm.forward(x);
}

at::Tensor DecoderImpl::logits(const at::Tensor& hidden) { return parts_->head->logits(hidden); }

at::Tensor DecoderImpl::token_losses(const at::Tensor& hidden, const at::Tensor& labels,
                                     const kernels::DropoutContext* dropout, double label_smoothing) {
  return parts_->head->losses(hidden, labels.to(hidden.device()), dropout, label_smoothing);
}

}  // namespace lowrank::models
