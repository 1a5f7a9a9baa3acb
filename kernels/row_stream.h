// A weight's rows as one stream of fp32 values, for codes whose blocks do not end where rows do.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace lowrank::kernels {

/// Calls f(first, values, n) for consecutive runs of w [out, in], any float dtype and strides on the host, read row by
/// row in fp32: n values from the flat place `first` on, which is a multiple of `block`, and so is n but at the end. In
/// parallel; the runs depend on the shape alone. ModelError where a value is not finite.
void for_value_runs(const at::Tensor& w, std::int64_t block,
                    const std::function<void(std::int64_t, const float*, std::int64_t)>& f);

}  // namespace lowrank::kernels
