// Weights in codes that lie on a device are decoded there, by LibTorch's ops, to the bytes of the CPU's loops.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace lowrank::kernels {

/// Rows [begin, begin + n) of a weight with `in` columns, [n, in] in `dtype` on `device`. `decode` gives some of them in fp32; it
/// is asked for a few at a time, so that what it takes besides is small and stays in the device's cache.
at::Tensor decoded_rows(std::int64_t begin, std::int64_t n, std::int64_t in, at::ScalarType dtype, at::Device device,
                        const std::function<at::Tensor(std::int64_t begin, std::int64_t n)>& decode);

/// int32 [2 n]: the two halves of each of these bytes [n], the upper one first or second.
at::Tensor halves(const at::Tensor& bytes, bool upper_first);

}  // namespace lowrank::kernels
