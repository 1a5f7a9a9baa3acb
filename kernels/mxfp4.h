// MXFP4 (OCP Microscaling formats 1.0): blocks of 32 values of 4 bits (E2M1) that share an exponent of 8 bits, as
// gpt-oss's files keep the matrices of their experts.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "lowrank/kernels/base_storage.h"

namespace lowrank::kernels {

/// W [out, 32 G] from uint8 blocks [out, G, 16], two values a byte, the lower half first, and uint8 scales [out, G]: a
/// value is that of its 4 bits times 2^(scale − 127). Used where they lie; each panel is decoded as it is asked for, to
/// the values that transformers decodes them to in bf16. InternalError where shapes or dtypes do not fit.
std::shared_ptr<const BaseStorage> mxfp4_storage(at::Tensor blocks, at::Tensor scales);

}  // namespace lowrank::kernels
