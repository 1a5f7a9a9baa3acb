// The values of a model's tensors with an adapter in them, in fp32 and not rounded: for results of another type than
// the files.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lowrank/lora/merge_plan.h"

namespace lowrank::lora {

/// Rows [begin, end) of the tensor after `change`, fp32, with the extents after the first as the files have them. Of a
/// transposed change (W stored [in, out]) the rows are those of W: [end - begin, in]. A tensor of all experts counts as
/// a matrix of its first two dimensions together. ModelError for values that are not finite or no floats.
at::Tensor merged_values(const formats::WeightFiles::Entry& source, const Change& change, std::int64_t begin,
                         std::int64_t end);

/// Its rows, counted so.
std::int64_t value_rows(const formats::WeightFiles::Entry& source, const Change& change);

}  // namespace lowrank::lora
