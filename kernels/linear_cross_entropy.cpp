// Cross-entropy through the head, a chunk of labelled rows at a time: logits exist for one chunk only.

#include <algorithm>
#include <string>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/gemm.h"
#include "lowrank/kernels/gemm/product.h"
#include "lowrank/kernels/head_scratch.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/loops.h"
#include "lowrank/kernels/on_device.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/profile.h"
#include "lowrank/kernels/rows.h"
#include "lowrank/kernels/smoothed_cross_entropy.h"

namespace lowrank::kernels {

namespace {

// Rows a chunk of `count` rows: logits of at most 72 MiB in fp32, and between 192 and 1024 rows, all chunks alike: the head
// is packed anew for each, and while it is made the activations of the whole model are there.
std::int64_t chunk_rows(std::int64_t count, std::int64_t vocabulary) {
  const auto most = std::clamp<std::int64_t>((std::int64_t{18} << 20) / vocabulary / 64 * 64, 192, 1024);
  const std::int64_t chunks = (count + most - 1) / most;
  return ((count + chunks - 1) / chunks + 7) / 8 * 8;
}

at::Tensor labelled_rows(const at::Tensor& labels, std::int64_t vocabulary) {
  std::vector<std::int64_t> rows;
  const std::int64_t* const label = labels.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < labels.size(0); ++i) {
    if (label[i] == -100) continue;
    if (label[i] < 0 || label[i] >= vocabulary) {
      throw InternalError("kernels::linear_cross_entropy: label " + std::to_string(label[i]) + " of row " +
                          std::to_string(i) + " is outside the head's vocabulary of " + std::to_string(vocabulary));
    }
    rows.push_back(i);
  }
  return from_host<std::int64_t>(rows, {static_cast<std::int64_t>(rows.size())});
}

// For every chunk of labelled rows: f(first row in the list, hidden rows [m, d] as the products take them, logits [m, V]).
template <typename F>
void for_chunks(const at::Tensor& hidden, const BaseWeight& head, const at::Tensor& rows, const F& f) {
  const auto dtype = wide_dtype(hidden);
  const std::int64_t count = rows.size(0);
  if (count == 0) return;
  const std::int64_t chunk = chunk_rows(count, head.out_features());
  const at::Tensor buffer = room_for_logits(count, head.out_features(), hidden.options());
  for (std::int64_t begin = 0; begin < count; begin += chunk) {
    const std::int64_t m = std::min(chunk, count - begin);
    at::Tensor h = hidden.index_select(0, rows.narrow(0, begin, m));
    if (!gemm::in_bf16(h.scalar_type())) h = converted(h, dtype);
    const at::Tensor logits = buffer.narrow(0, 0, m);
    multiply_transposed(logits, h, head);
    f(begin, h, logits);
  }
}

// Label smoothing around the cross-entropy of a row: the mean of its logits before they are overwritten, then what the
// target's share on every token adds to loss and gradient.
template <typename T>
T rounded(T x, bool round) {
  return round ? static_cast<T>(c10::BFloat16(static_cast<float>(x))) : x;
}

template <typename T>
double mean_logit(const T* z, std::int64_t n, bool round) {
  double sum = 0;
  for (std::int64_t j = 0; j < n; ++j) sum += static_cast<double>(rounded(z[j], round));
  return sum / static_cast<double>(n);
}

template <typename T>
void smooth_gradient(T* z, std::int64_t n, std::int64_t label, double smoothing, T scale) {
  const T each = static_cast<T>(static_cast<double>(scale) * smoothing / static_cast<double>(n));
  for (std::int64_t j = 0; j < n; ++j) z[j] -= each;
  z[label] += static_cast<T>(static_cast<double>(scale) * smoothing);
}

// Losses of a chunk; its logits become scale[row] · (softmax − target) where `scales` or `gradient` says so.
void chunk_losses(const at::Tensor& logits, const at::Tensor& rows, const at::Tensor& labels, std::int64_t begin,
                  bool round, bool gradient, const at::Tensor& scales, double smoothing, at::Tensor* losses) {
  with_wide_type(logits, [&](auto tag) {
    using T = decltype(tag);
    const std::int64_t n = logits.size(1);
    T* const z = logits.mutable_data_ptr<T>();
    const std::int64_t* const index = rows.const_data_ptr<std::int64_t>() + begin;
    const std::int64_t* const label = labels.const_data_ptr<std::int64_t>();
    const T* const scale = scales.defined() ? scales.const_data_ptr<T>() : nullptr;
    T* const loss = losses != nullptr ? losses->mutable_data_ptr<T>() : nullptr;
    for_row_chunks(logits.size(0), 4, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        const T factor = scale != nullptr ? scale[index[i]] : T{1};
        T* const row = z + i * n;
        const std::int64_t target = label[index[i]];
        double above = 0;  // the label's logit above the mean
        if (smoothing != 0) above = static_cast<double>(rounded(row[target], round)) - mean_logit(row, n, round);
        T value = loops::cross_entropy_row(row, n, target, round, gradient, factor);
        if (smoothing != 0) {
          value += static_cast<T>(smoothing * above);
          if (gradient) smooth_gradient(row, n, target, smoothing, factor);
        }
        if (loss != nullptr) loss[index[i]] = value;
      }
    });
  });
}

// out[rows[i]] = gradients[i] · scales[rows[i]], rounded once.
at::Tensor scattered(const at::Tensor& gradients, const at::Tensor& rows, const at::Tensor& scales, std::int64_t tokens,
                     at::ScalarType dtype) {
  at::Tensor out = aten::zeros({tokens, gradients.size(1)}, gradients.options().dtype(dtype));
  const std::int64_t* const index = rows.const_data_ptr<std::int64_t>();
  for_row_chunks(rows.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      at::Tensor row = gradients[i];
      if (scales.defined()) row = row.mul(scales[index[i]]);
      out[index[i]].copy_(row);
    }
  });
  return out;
}

at::Tensor losses_of(const at::Tensor& hidden, const BaseWeight& head, const at::Tensor& labels, const at::Tensor& rows,
                     double smoothing, at::Tensor* gradients) {
  const double product = 2.0 * static_cast<double>(rows.size(0) * hidden.size(1)) * static_cast<double>(head.out_features());
  const ProfileScope profiled("head and loss", gradients != nullptr ? 2 * product : product,
                              static_cast<double>(hidden.nbytes()));
  at::Tensor losses = aten::zeros({hidden.size(0)}, hidden.options().dtype(wide_dtype(hidden)));
  const bool round = hidden.scalar_type() == at::kBFloat16;
  for_chunks(hidden, head, rows, [&](std::int64_t begin, const at::Tensor& h, const at::Tensor& logits) {
    chunk_losses(logits, rows, labels, begin, round, gradients != nullptr, {}, smoothing, &losses);
    if (gradients != nullptr) multiply(gradients->narrow(0, begin, h.size(0)), logits, head, round);
  });
  return losses;
}

// With a frozen head the gradient of hidden is made in the forward pass, for an upstream gradient of one, and scaled
// row by row in the backward pass.
ForwardPass with_frozen_head(const at::Tensor& hidden, const BaseWeight& head, const at::Tensor& labels,
                             double smoothing) {
  const at::Tensor rows = labelled_rows(labels, head.out_features());
  at::Tensor gradients = aten::empty({rows.size(0), hidden.size(1)}, hidden.options().dtype(wide_dtype(hidden)));
  const at::Tensor losses = losses_of(hidden, head, labels, rows, smoothing, &gradients);
  return {
      losses, {gradients, rows}, [dtype = hidden.scalar_type()](const BackwardPass& pass) -> std::vector<at::Tensor> {
        const ProfileScope profiled("head and loss backward", 0, static_cast<double>(2 * pass.saved[0].nbytes()));
        const at::Tensor g = pass.gradient.contiguous();
        return {scattered(pass.saved[0], pass.saved[1], g, g.size(0), dtype)};
      }};
}

// A trainable head needs the upstream gradients inside the sum over rows: its chunks are computed again in the backward
// pass.
std::vector<at::Tensor> trainable_head_backward(const BackwardPass& pass, const BaseWeight& head, double smoothing) {
  const at::Tensor &hidden = pass.saved[0], &labels = pass.saved[1], &rows = pass.saved[2];
  const double product = 2.0 * static_cast<double>(rows.size(0) * hidden.size(1)) * static_cast<double>(head.out_features());
  const ProfileScope profiled("head and loss backward", (pass.needs(0) ? 3 : 2) * product,
                              static_cast<double>(hidden.nbytes()));
  const at::Tensor g = pass.gradient.contiguous();
  const auto options = hidden.options().dtype(wide_dtype(hidden));
  at::Tensor gradients, dhidden, dw = aten::zeros({head.out_features(), head.in_features()}, options);
  if (pass.needs(0)) gradients = aten::empty({rows.size(0), hidden.size(1)}, options);
  const bool round = hidden.scalar_type() == at::kBFloat16;
  for_chunks(hidden, head, rows, [&](std::int64_t begin, const at::Tensor& h, const at::Tensor& logits) {
    chunk_losses(logits, rows, labels, begin, round, true, g, smoothing, nullptr);
    multiply_outer(dw, logits, h, 1, /*accumulate=*/true);
    if (gradients.defined()) multiply(gradients.narrow(0, begin, h.size(0)), logits, head, round);
  });
  if (gradients.defined()) dhidden = scattered(gradients, rows, {}, hidden.size(0), hidden.scalar_type());
  return {dhidden, dw.to(head.dtype())};
}

ForwardPass with_trainable_head(const at::Tensor& hidden, const BaseWeight& head, const at::Tensor& labels,
                                double smoothing) {
  const at::Tensor rows = labelled_rows(labels, head.out_features());
  return {losses_of(hidden, head, labels, rows, smoothing, nullptr),
          {hidden, labels, rows},
          [head, smoothing](const BackwardPass& pass) { return trainable_head_backward(pass, head, smoothing); }};
}

}  // namespace

at::Tensor room_for_logits(std::int64_t rows, std::int64_t vocabulary, const at::TensorOptions& options) {
  const auto dtype = wide_dtype(c10::typeMetaToScalarType(options.dtype()));
  return aten::empty({rows == 0 ? 0 : chunk_rows(rows, vocabulary), vocabulary}, options.dtype(dtype));
}

std::uint64_t head_scratch_bytes(std::int64_t rows, std::int64_t vocabulary, std::int64_t width, std::int64_t element) {
  return rows == 0 ? 0 : static_cast<std::uint64_t>(chunk_rows(rows, vocabulary) * (vocabulary + 2 * width) * element);
}

at::Tensor linear_cross_entropy(const at::Tensor& hidden, const BaseWeight& head, const at::Tensor& labels) {
  return smoothed_cross_entropy(hidden, head, labels, 0);
}

at::Tensor smoothed_cross_entropy(const at::Tensor& hidden, const BaseWeight& head, const at::Tensor& labels,
                                  double smoothing) {
  const bool head_trains = at::GradMode::is_enabled() && head.trains();
  if (on_device::takes(hidden) && !head_trains) {
    const at::Tensor here = to_device(labels, at::kCPU).contiguous();
    return on_device::cross_entropy(hidden, head, here, labelled_rows(here, head.out_features()), smoothing);
  }
  if (!use_fused(hidden)) {
    return composite::smoothed_cross_entropy(hidden, head, to_device(labels, hidden.device()), smoothing);
  }
  if (hidden.dim() != 2 || hidden.size(1) != head.in_features() || labels.scalar_type() != at::kLong ||
      labels.dim() != 1 || labels.size(0) != hidden.size(0)) {
    throw InternalError(
        "kernels::linear_cross_entropy: hidden [T, d], a head [V, d] and int64 labels [T] are expected");
  }
  const at::Tensor h = hidden.contiguous(), l = labels.contiguous();
  if (head_trains)
    return differentiable({h, head.trained()}, [&] { return with_trainable_head(h, head, l, smoothing); });
  if (records(h)) return differentiable({h}, [&] { return with_frozen_head(h, head, l, smoothing); });
  const at::NoGradGuard no_grad;
  return losses_of(h, head, l, labelled_rows(l, head.out_features()), smoothing, nullptr);
}

}  // namespace lowrank::kernels
