// Examples laid end to end as tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "lowrank/data/records.h"
#include "lowrank/kernels/segments.h"

namespace lowrank::data {

struct Batch {
  at::Tensor ids;     // int64 [T]
  at::Tensor labels;  // int64 [T]: the next token, -100 where it is not learned; a segment's last is -100
  kernels::Segments segments;
  std::vector<std::int64_t> token_in_step;  // [T]: index of each token in the step's plan
  std::int64_t counted = 0;                 // labels that are not -100
};

/// `first_token`: tokens of the step's earlier micro-batches.
Batch make_batch(const Examples& all, std::span<const std::uint32_t> which, std::int64_t first_token = 0);

/// The examples from `first` on that fit into `max_tokens` together; at least one.
std::vector<std::uint32_t> examples_from(const Examples& all, std::size_t first, std::int64_t max_tokens);

}  // namespace lowrank::data
