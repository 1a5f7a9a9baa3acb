// NF4 with double quantisation (Dettmers et al. 2023, QLoRA), as bitsandbytes' CPU library makes it, to the bit.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>

#include "lowrank/kernels/base_storage.h"

namespace lowrank::kernels {

inline constexpr std::int64_t kNf4Block = Nf4Codes::kBlock;              // values that share a greatest absolute value
inline constexpr std::int64_t kNf4SecondBlock = Nf4Codes::kSecondBlock;  // such values that share one of their own

/// Where the parts of a weight of n = out · in values lie in its bytes.
struct Nf4Layout {
  std::int64_t values, blocks, groups;       // n, ⌈n/64⌉, ⌈blocks/256⌉
  std::int64_t scales, absmax, codes, bytes;  // where these begin; the offset is in front; all together
};
Nf4Layout nf4_layout(std::int64_t out, std::int64_t in);

/// Views of the parts, as bitsandbytes' QuantState names them.
struct Nf4Parts {
  at::Tensor codes;   // uint8 [⌈n/2⌉]: two values a byte, the first in the upper half
  at::Tensor absmax;  // uint8 [blocks]: places in nf4_second_map() of (greatest absolute value − offset) / scale
  at::Tensor scales;  // fp32 [groups] (state2.absmax)
  at::Tensor offset;  // fp32 [1]: the mean of the greatest absolute values
};
Nf4Parts nf4_parts(const at::Tensor& bytes, std::int64_t out, std::int64_t in);

/// The 16 values, ascending, and the 256 of the second quantisation (bitsandbytes' dynamic map).
const std::array<float, 16>& nf4_values();
const std::array<float, 256>& nf4_second_map();

/// uint8 [bytes] of w [out, in], taken row by row: values by the nearest of the 16 after division by the block's
/// greatest absolute value; those less their mean, by the dynamic map through a table of 65,536 places, as bitsandbytes
/// rounds them.
at::Tensor nf4_encoded(const at::Tensor& w);

/// The same without the second quantisation, decoded: fp32 [out, in] of w (LoftQ's iterations, as PEFT has them).
at::Tensor nf4_rounded(const at::Tensor& w);

/// W = nf4_values()[code] · (nf4_second_map()[absmax] · scale + offset), each operation rounded to fp32.
std::shared_ptr<const BaseStorage> nf4_storage(at::Tensor bytes, std::int64_t out, std::int64_t in,
                                               at::Tensor original = {}, at::Device device = at::kCPU);

}  // namespace lowrank::kernels
