// A weight in 8 bits with one scale a row: the form of bitsandbytes' LLM.int8 weights (vectorwise).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "lowrank/kernels/base_storage.h"

namespace lowrank::kernels {

/// Bytes of W [out, in]: fp32 scales [out], then int8 codes [out, in], a multiple of 64 in all.
std::int64_t int8_bytes(std::int64_t out, std::int64_t in);

/// Views of the parts: `scales` fp32 [out], the rows' greatest absolute values (SCB), and `codes` int8 [out, in] (CB).
struct Int8Parts {
  at::Tensor codes, scales;
};
Int8Parts int8_parts(const at::Tensor& bytes, std::int64_t out, std::int64_t in);

/// uint8 [bytes] of w [out, in]: round(w · ((1 / scale) · 127)), halves to even, as bitsandbytes' int8_vectorwise_quant; a row
/// of zeros has zeros.
at::Tensor int8_encoded(const at::Tensor& w);

/// W = code · scale · (1/127), each product rounded to fp32, as bitsandbytes' int8_vectorwise_dequant.
std::shared_ptr<const BaseStorage> int8_storage(at::Tensor bytes, std::int64_t out, std::int64_t in,
                                                at::Tensor original = {}, at::Device device = at::kCPU);

}  // namespace lowrank::kernels
