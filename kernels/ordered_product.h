// Small products whose every element is one sum in a fixed order in double: scores of texts, values of tokens, and
// their gradients.
#pragma once

#include <ATen/core/Tensor.h>

namespace lowrank::kernels {

/// a [m, k] · b [k, n] -> fp64 [m, n] on their device, each element summed over k from its start. a and b of any float
/// dtype and strides; no autograd. The longer side of the result is cut into chunks, so that only the operand on the
/// other side is widened whole.
at::Tensor ordered_product(const at::Tensor& a, const at::Tensor& b);

namespace composite {
at::Tensor ordered_product(const at::Tensor& a, const at::Tensor& b);
}

}  // namespace lowrank::kernels
