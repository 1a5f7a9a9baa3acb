// Dropout where the CPU cannot read: the same masks, made there.
#pragma once

#include <ATen/core/Tensor.h>

#include "lowrank/kernels/dropout_mask.h"

namespace lowrank::kernels::on_device {

/// apply_dropout of x [T, d] on a device: its bytes, by LibTorch's integer ops.
at::Tensor dropped(const at::Tensor& x, const DropoutPlace& place);

}  // namespace lowrank::kernels::on_device
