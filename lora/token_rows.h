// Rows of an embedding or of a head that an adapter has in place of the base's own: PEFT's trainable tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "lowrank/lora/adapter_list.h"

namespace lowrank::lora {

struct TokenRows {
  std::vector<std::int64_t> ids;  // each once, in the order of the rows below
  at::Tensor values;              // [n, d], an fp32 leaf
};
using TokenRowsList = AdapterList<TokenRows>;

/// rows [T, d] of an embedding at ids int64 [T], with those of the enabled adapters' tokens in their place.
/// Differentiable in both.
at::Tensor with_token_rows(const at::Tensor& rows, const at::Tensor& ids, const TokenRowsList& adapters);

/// z = x Wᵀ + b [T, V] of a head with the columns of the enabled adapters' tokens in the place of its own; x [T, d],
/// `bias` [V] or undefined. Differentiable in x, z and the rows.
at::Tensor with_token_columns(const at::Tensor& z, const at::Tensor& x, const at::Tensor& bias,
                              const TokenRowsList& adapters);

}  // namespace lowrank::lora
