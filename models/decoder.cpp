// The forward pass.
#include "lowrank/models/decoder.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/checkpoint.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/neftune.h"
#include "lowrank/models/decoder_parts.h"

namespace lowrank::models {
namespace {

// What a layer needs beside x; kept alive by the closures that run it again in the backward pass.
struct Pass {
  kernels::Segments segments;
  RotaryPass rotary;
  std::optional<kernels::DropoutContext> dropout;
  std::shared_ptr<kernels::RouterBalance> balance;

  Pass(const kernels::Segments& s, RotaryPass r, const ForwardOptions& options)
      : segments(s),
        rotary(std::move(r)),
        dropout(options.dropout == nullptr ? std::nullopt : std::optional(*options.dropout)),
        balance(options.balance) {}

  LayerPass layer(Carried* carried) const {
    return {segments, rotary, dropout ? &*dropout : nullptr, carried, balance};
  }
};

}  // namespace

std::size_t DecoderImpl::first_trained_layer() const {
  if (parts_->embedding->slot()->trains() || parts_->modules.front().trains()) return 0;
  for (std::size_t i = 0; i < parts_->layers.size(); ++i) {
    if (parts_->modules[i + 1].trains()) return i;
  }
  return parts_->layers.size();
}

namespace {

// What a layer reads beside x, in the order in which it stands side by side with x where the layer is run again in the
// backward pass: kernels::checkpoint has one input and one output.
std::vector<at::Tensor> inputs_of(const Layer& layer, const at::Tensor& x, const Carried& carried) {
  std::vector<at::Tensor> parts = {x};
  if (carried.per_layer.defined()) parts.push_back(carried.per_layer);
  if (const auto place = layer.mixer().shares()) {
    parts.push_back(carried.shared[*place].keys);
    parts.push_back(carried.shared[*place].values);
  }
  return parts;
}

std::vector<at::Tensor> outputs_of(const Layer& layer, const at::Tensor& y, const Carried& carried) {
  std::vector<at::Tensor> parts = {y};
  if (const auto place = layer.mixer().stores()) {
    parts.push_back(carried.shared[*place].keys);
    parts.push_back(carried.shared[*place].values);
  }
  return parts;
}

at::Tensor side_by_side(std::vector<at::Tensor> parts) {
  if (parts.size() == 1) return parts.front();
  for (at::Tensor& part : parts) part = part.flatten(1);
  return kernels::aten::cat(parts, 1);
}

using Shapes = std::vector<std::vector<std::int64_t>>;  // of parts, without the tokens

Shapes shapes_of(const std::vector<at::Tensor>& parts) {
  Shapes shapes;
  for (const at::Tensor& part : parts) shapes.emplace_back(part.sizes().begin() + 1, part.sizes().end());
  return shapes;
}

std::vector<at::Tensor> apart(const at::Tensor& all, const Shapes& shapes) {
  if (shapes.size() == 1) return {all};
  std::vector<std::int64_t> widths;
  for (const auto& shape : shapes) {
    widths.push_back(std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()));
  }
  std::vector<at::Tensor> parts = all.split_with_sizes(widths, 1);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    std::vector<std::int64_t> shape = {-1};
    shape.insert(shape.end(), shapes[i].begin(), shapes[i].end());
    parts[i] = parts[i].reshape(shape).contiguous();
  }
  return parts;
}

}  // namespace

void DecoderImpl::activate(const std::vector<std::int64_t>& ids, const kernels::Segments& segments,
                           const KvCache* cache) {
  std::erase_if(*activations_, [](const auto& one) { return one.expired(); });
  for (const std::weak_ptr<lora::ActiveTokens>& one : *activations_) {
    const auto active = one.lock();
    std::vector<float> mask(ids.size(), 0);
    for (std::int64_t s = 0; s < segments.count(); ++s) {
      std::vector<std::int64_t> sequence = cache == nullptr ? std::vector<std::int64_t>() : cache->tokens(s);
      const auto cached = static_cast<std::int64_t>(sequence.size());
      const std::int64_t begin = segments.q_offsets[static_cast<std::size_t>(s)],
                         end = segments.q_offsets[static_cast<std::size_t>(s) + 1];
      sequence.insert(sequence.end(), ids.begin() + begin, ids.begin() + end);
      const std::int64_t from = std::max<std::int64_t>(lora::activated_from(active->invocation, sequence) - cached, 0);
      for (std::int64_t t = begin + from; t < end; ++t) mask[static_cast<std::size_t>(t)] = 1;
    }
    active->mask = kernels::from_host<float>(mask, {static_cast<std::int64_t>(ids.size()), 1}, device());
  }
}

namespace {

// The masks of a pass, for when its layers run again in the backward pass and another pass came in between.
std::vector<std::pair<std::shared_ptr<lora::ActiveTokens>, at::Tensor>> masks_of(const lora::Activations& all) {
  std::vector<std::pair<std::shared_ptr<lora::ActiveTokens>, at::Tensor>> masks;
  for (const auto& one : all)
    if (const auto active = one.lock()) masks.emplace_back(active, active->mask);
  return masks;
}

}  // namespace

at::Tensor DecoderImpl::recomputed(std::size_t i, const std::shared_ptr<const void>& keep, const LayerPass& pass,
                                   const at::Tensor& x) {
  const Layer& layer = parts_->layers[i];
  Carried& carried = *pass.carried;
  const std::vector<at::Tensor> inputs = inputs_of(layer, x, carried);
  const Shapes in = shapes_of(inputs);
  const auto out = std::make_shared<Shapes>();
  const auto again = [&layer, keep, masks = masks_of(*activations_), in, out, segments = &pass.segments, rotary = &pass.rotary, dropout = pass.dropout,
                      balance = pass.balance, places = carried.shared.size(),
                      per_layer = carried.per_layer.defined()](const at::Tensor& all) {
    for (const auto& [active, mask] : masks) active->mask = mask;
    const std::vector<at::Tensor> parts = apart(all, in);
    Carried own{std::vector<SharedKeys>(places), {}};
    std::size_t next = 1;
    if (per_layer) own.per_layer = parts[next++];
    if (const auto place = layer.mixer().shares()) own.shared[*place] = {parts[next], parts[next + 1], {}, {}};
    const at::Tensor y = layer.forward(parts[0], {*segments, *rotary, dropout, &own, balance}, nullptr);
    const std::vector<at::Tensor> outputs = outputs_of(layer, y, own);
    *out = shapes_of(outputs);
    return side_by_side(outputs);
  };
  const at::Tensor all = kernels::checkpoint(again, side_by_side(inputs));
  const std::vector<at::Tensor> outputs = apart(all, *out);
  if (const auto place = layer.mixer().stores()) carried.shared[*place] = {outputs[1], outputs[2], {}, {}};
  return outputs[0];
}

at::Tensor DecoderImpl::hidden(const at::Tensor& ids, const kernels::Segments& segments,
                               const ForwardOptions& options) {
  const auto pass =
      std::make_shared<const Pass>(segments, RotaryPass(config_.blocks->rotary, segments, device()), options);
  Carried carried{std::vector<SharedKeys>(config_.blocks->shared_keys), {}};
  const LayerPass layer_pass = pass->layer(&carried);
  const std::vector<std::int64_t> tokens = kernels::to_host<std::int64_t>(ids);
  activate(tokens, segments, options.cache);
  at::Tensor noise;
  if (options.neftune != 0 && options.dropout != nullptr) {
    noise = kernels::neftune_noise(segments, embedding_width(config_), options.neftune, *options.dropout);
  }
  at::Tensor x = parts_->embedding->forward(ids, segments, layer_pass.dropout, noise);
  const at::Tensor per_layer = parts_->embedding->per_layer(ids, x, layer_pass.dropout);
  const auto run = [&](std::size_t i, bool recompute) {
    if (per_layer.defined()) carried.per_layer = per_layer.select(1, static_cast<std::int64_t>(i)).contiguous();
    if (recompute) return recomputed(i, pass, layer_pass, x);
    const Layer& layer = parts_->layers[i];
    MixerState* const state = options.cache == nullptr ? nullptr : &options.cache->state(i, layer.mixer());
    return layer.forward(x, layer_pass, state);
  };
  const std::size_t layers = parts_->layers.size();
  const std::size_t first = at::GradMode::is_enabled() ? first_trained_layer() : layers;
  {
    at::NoGradGuard nothing_to_train;
    for (std::size_t i = 0; i < first; ++i) x = run(i, false);
  }
  const bool recompute = options.recompute.any() && first < layers;
  // The recomputation needs an input that requires grad, or the gradients of what is inside would be lost.
  if (recompute && !x.requires_grad()) x = x.detach().requires_grad_(true);
  for (std::size_t i = first; i < layers; ++i)
    x = run(i, recompute && options.recompute.takes(static_cast<std::int64_t>(i - first)));
  if (options.cache != nullptr) options.cache->advance(segments, tokens);
  if (options.balance != nullptr) options.balance->close();
  x = parts_->norm.forward(x);
  return parts_->projection == nullptr ? x : parts_->projection->forward(x, layer_pass.dropout);
}

at::Tensor DecoderImpl::logits(const at::Tensor& hidden) { return parts_->head->logits(hidden); }

at::Tensor DecoderImpl::token_losses(const at::Tensor& hidden, const at::Tensor& labels,
                                     const kernels::DropoutContext* dropout, double label_smoothing) {
  return parts_->head->losses(hidden, labels, dropout, label_smoothing);
}

}  // namespace lowrank::models
