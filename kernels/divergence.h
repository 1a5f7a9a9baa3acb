// How far one model's next-token distributions are from another's.
#pragma once

#include <ATen/core/Tensor.h>

namespace lowrank::kernels {

/// KL(p ‖ q) of each row of log-probabilities fp32 [rows, V], summed over the vocabulary in its order in fp64 [rows];
/// tokens to which p gives nothing add nothing. No autograd.
at::Tensor divergences(const at::Tensor& log_p, const at::Tensor& log_q);

namespace composite {
at::Tensor divergences(const at::Tensor& log_p, const at::Tensor& log_q);
}

}  // namespace lowrank::kernels
