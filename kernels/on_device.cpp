#include "lowrank/kernels/on_device.h"

#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/_fused_sdp_choice.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/host.h"

namespace lowrank::kernels {

struct DeviceOffsets {
  std::vector<std::int64_t> q, k;
  at::Tensor q_there, k_there;  // int32
};

namespace on_device {

namespace {

constexpr std::int64_t kFlash = 1;         // sdp::SDPBackend::flash_attention
constexpr std::int64_t kChunkLogits = 64 << 20;  // of a chunk of rows

// [T, H, d] as scaled_dot_product_attention reads it: [1, H, T, d].
at::Tensor heads_first(const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0); }

// kv head h / group for every query head h.
at::Tensor for_every_head(const at::Tensor& x, std::int64_t group) {
  return group == 1 ? x : x.unsqueeze(2).expand({-1, -1, group, -1}).flatten(1, 2);
}

at::Tensor there(const std::vector<std::int64_t>& offsets, at::Device device) {
  return from_host<std::int64_t>(offsets, {static_cast<std::int64_t>(offsets.size())}, device).to(at::kInt);
}

// Made once a pass. Two sets of offsets are compared, since they are anyone's to change.
const DeviceOffsets& offsets_there(const Segments& segments, at::Device device) {
  const DeviceOffsets* const made = segments.on_device.get();
  if (made != nullptr && made->q_there.device() == device && made->q == segments.q_offsets && made->k == segments.k_offsets) {
    return *made;
  }
  DeviceOffsets fresh{segments.q_offsets, segments.k_offsets, there(segments.q_offsets, device), {}};
  fresh.k_there = fresh.k == fresh.q ? fresh.q_there : there(fresh.k, device);
  segments.on_device = std::make_shared<const DeviceOffsets>(std::move(fresh));
  return *segments.on_device;
}

std::int64_t longest(const std::vector<std::int64_t>& offsets) {
  std::int64_t most = 0;
  for (std::size_t s = 1; s < offsets.size(); ++s) most = std::max(most, offsets[s] - offsets[s - 1]);
  return most;
}

// What LibTorch would take for one segment of this kind says whether this device, dtype and head size are flash's.
bool flash_takes(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) {
  const bool half = q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf;
  if (!half || q.size(2) != v.size(2) || q.size(2) % 8 != 0) return false;
  const std::int64_t group = q.size(1) / k.size(1);
  const auto first = [](const at::Tensor& x, std::int64_t times) {
    return heads_first(for_every_head(x.narrow(0, 0, std::min<std::int64_t>(x.size(0), 1)), times));
  };
  return at::_fused_sdp_choice(first(q, 1), first(k, group), first(v, group), {}, 0, true, scale) == kFlash;
}

at::Tensor flash(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Segments& segments,
                 const AttentionOptions& options) {
  // A window of w keys, the query's own among them, is w - 1 to the left.
  const DeviceOffsets& offsets = offsets_there(segments, q.device());
  const auto within = [&](std::optional<std::int64_t> left, std::optional<std::int64_t> right) {
    return std::get<0>(at::_flash_attention_forward(
        q.contiguous(), k.contiguous(), v.contiguous(), offsets.q_there, offsets.k_there, longest(segments.q_offsets),
        longest(segments.k_offsets), /*dropout_p=*/0,
        /*is_causal=*/!left, /*return_debug_mask=*/false, options.scale, left, right));
  };
  return options.window ? within(*options.window - 1, 0) : within({}, {});
}

// Which keys each of nq queries sees, [nq, nk].
at::Tensor seen(std::int64_t nq, std::int64_t nk, const AttentionOptions& options, at::Device device) {
  const auto places = at::TensorOptions(at::kLong).device(device);
  const at::Tensor position = at::arange(nk - nq, nk, places).unsqueeze(1), key = at::arange(nk, places).unsqueeze(0);
  const at::Tensor before = key.le(position);
  return options.window ? before.logical_and(key.gt(position.sub(*options.window))) : before;
}

at::Tensor one_segment(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionOptions& options) {
  const std::int64_t nq = q.size(0), nk = k.size(0), group = q.size(1) / k.size(1);
  const bool within = !options.window || nk <= *options.window;  // nothing is outside the window
  // A single query is the last: it sees all. LibTorch's causal mask begins with the first key, ours ends with the last.
  const bool plain = within && (nq == 1 || nq == nk);
  const std::optional<at::Tensor> mask = plain ? std::nullopt : std::optional(seen(nq, nk, options, q.device()));
  return at::scaled_dot_product_attention(heads_first(q), heads_first(for_every_head(k, group)), heads_first(for_every_head(v, group)),
                                          mask, /*dropout_p=*/0, /*is_causal=*/plain && nq > 1, options.scale)
      .squeeze(0)
      .transpose(0, 1);
}

// Rows of a chunk's loss; its gradient by the logits, in place of these, where `gradient` asks for it.
at::Tensor chunk_losses(at::Tensor& logits, const at::Tensor& labels, double smoothing, bool gradient) {
  const at::Tensor index = labels.unsqueeze(1);
  const at::Tensor lse = at::logsumexp(logits, {1}, /*keepdim=*/true);
  at::Tensor losses = lse.sub(logits.gather(1, index).mul(1 - smoothing)).squeeze(1);
  if (smoothing != 0) losses = losses.sub(logits.mean(1).mul(smoothing));
  if (gradient) {
    logits.sub_(lse).exp_();
    if (smoothing != 0) logits.sub_(smoothing / static_cast<double>(logits.size(1)));
    logits.scatter_add_(1, index, aten::zeros(index.sizes(), logits.options()).sub(1 - smoothing));
  }
  return losses;
}

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Segments& segments,
                     const AttentionOptions& options) {
  if (options.cap != 0 || options.sinks.defined() || q.size(0) == 0) return composite::attention(q, k, v, segments, options);
  if (flash_takes(q, k, v, options.scale)) return flash(q, k, v, segments, options);
  std::vector<at::Tensor> outputs;
  for (std::int64_t s = 0; s < segments.count(); ++s) {
    const std::int64_t nq = segments.q_length(s), nk = segments.k_length(s);
    if (nq == 0) continue;
    outputs.push_back(one_segment(q.narrow(0, segments.q_offsets[s], nq), k.narrow(0, segments.k_offsets[s], nk),
                                  v.narrow(0, segments.k_offsets[s], nk), options));
  }
  return aten::cat(outputs);
}

at::Tensor cross_entropy(const at::Tensor& hidden, const BaseWeight& head, const at::Tensor& labels, const at::Tensor& rows_here,
                         double smoothing) {
  const bool gradient = records(hidden);
  const at::Tensor rows = to_device(rows_here, hidden.device());
  const at::Tensor wanted = to_device(labels.index_select(0, rows_here), hidden.device());
  const auto forward = [&](at::Tensor& gradients) {
    const auto dtype = hidden.scalar_type();
    const at::Tensor weight = head.rows(0, head.out_features(), dtype);
    at::Tensor losses = aten::zeros({hidden.size(0)}, hidden.options().dtype(wide_dtype(hidden)));
    if (gradient) gradients = aten::empty({rows.size(0), hidden.size(1)}, hidden.options());
    const std::int64_t chunk = std::max<std::int64_t>(1, kChunkLogits / head.out_features());
    for (std::int64_t begin = 0; begin < rows.size(0); begin += chunk) {
      const at::Tensor some = rows.narrow(0, begin, std::min(chunk, rows.size(0) - begin));
      at::Tensor logits = at::linear(hidden.index_select(0, some), weight).to(wide_dtype(hidden));
      losses.index_copy_(0, some, chunk_losses(logits, wanted.narrow(0, begin, some.size(0)), smoothing, gradient));
      if (gradient) gradients.narrow(0, begin, some.size(0)).copy_(logits.to(dtype).mm(weight));
    }
    return losses;
  };
  at::Tensor gradients;
  if (!gradient) {
    const at::NoGradGuard no_grad;
    return forward(gradients);
  }
  return differentiable({hidden}, [&]() -> ForwardPass {
    const at::Tensor losses = forward(gradients);
    return {losses, {gradients, rows}, [tokens = hidden.size(0)](const BackwardPass& pass) -> std::vector<at::Tensor> {
              const at::Tensor& of_rows = pass.saved[0];
              const at::Tensor scale = pass.gradient.index_select(0, pass.saved[1]).unsqueeze(1);
              at::Tensor out = aten::zeros({tokens, of_rows.size(1)}, of_rows.options());
              out.index_copy_(0, pass.saved[1], of_rows.mul(scale).to(of_rows.scalar_type()));
              return {out};
            }};
  });
}

}  // namespace on_device
}  // namespace lowrank::kernels
