// Label smoothing of the head's cross-entropy.
#pragma once

#include <ATen/core/Tensor.h>

#include "lowrank/kernels/base_weight.h"

namespace lowrank::kernels {

/// linear_cross_entropy with a target of (1 − smoothing) on the label and smoothing / V on every token, as
/// torch.nn.CrossEntropyLoss(label_smoothing=…, ignore_index=-100) has it (Szegedy et al. 2016). `smoothing` in [0, 1);
/// with 0 it is linear_cross_entropy to the bit.
at::Tensor smoothed_cross_entropy(const at::Tensor& hidden, const BaseWeight& head, const at::Tensor& labels,
                                  double smoothing);

namespace composite {
at::Tensor smoothed_cross_entropy(const at::Tensor& hidden, const BaseWeight& head, const at::Tensor& labels,
                                  double smoothing);
}  // namespace composite

}  // namespace lowrank::kernels
