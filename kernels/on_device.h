// What is not on the CPU is computed by the composite twins. Two of them would hold there what no device has room for, a square of
// scores for each head and logits of the whole vocabulary for each token: these are LibTorch's fused attention, and the loss in chunks.
#pragma once

#include <ATen/core/Tensor.h>

#include "lowrank/kernels/base_weight.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/runtime.h"

namespace lowrank::kernels::on_device {

/// Whether these take x's place: on a device, unless composite twins are asked for.
inline bool takes(const at::Tensor& x) { return mode() == Mode::kFused && !x.is_cpu(); }

/// kernels::attention. All segments at once by LibTorch's flash kernel for streams of segments where it takes these tensors
/// (fp16 and bf16 on GPUs that have it); else segment by segment by scaled_dot_product_attention, which chooses for itself.
/// Scores with a cap or sinks are the twin's.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Segments& segments,
                     const AttentionOptions& options);

/// kernels::smoothed_cross_entropy with a frozen head, logits for a chunk of rows at a time. Products in hidden's dtype, softmax
/// in fp32. `labels` [T] and `rows`, those that have one, lie on the CPU: what is known there is not asked of the device.
at::Tensor cross_entropy(const at::Tensor& hidden, const BaseWeight& head, const at::Tensor& labels, const at::Tensor& rows,
                         double smoothing);

}  // namespace lowrank::kernels::on_device
