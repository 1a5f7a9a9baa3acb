// Cross-entropy of rows of logits that are there, by their softmax's logarithm.
#pragma once

#include <ATen/core/Tensor.h>

namespace lowrank::kernels {

/// -log softmax(logits)[label] a row, [T] in fp32 (fp64 for fp64); logits [T, V] of any float dtype, labels int64 [T], 0
/// for -100. `smoothing` as smoothed_cross_entropy has it. Differentiable in logits; independent of the number of
/// threads (LibTorch's softmax backward is not at odd widths). InternalError for a label outside [0, V).
at::Tensor row_losses(const at::Tensor& logits, const at::Tensor& labels, double smoothing = 0);

/// log softmax by row [T, V], in fp32 (fp64 for fp64), by chunks of rows that do not depend on the threads; no autograd.
at::Tensor row_log_softmax(const at::Tensor& logits);

namespace composite {
at::Tensor row_losses(const at::Tensor& logits, const at::Tensor& labels, double smoothing = 0);
at::Tensor row_log_softmax(const at::Tensor& logits);
}  // namespace composite

}  // namespace lowrank::kernels
