// The forward pass of generation: new tokens of several sequences at once, after what a cache holds of each.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "lowrank/data/tokenizer/tokenizer.h"
#include "lowrank/models/decoder.h"

namespace lowrank::models {

/// Logits [n, V] fp32 of the token after each of the n inputs, which follow what `cache` has of its n sequences; each
/// has at least one token, they need not be equally long, and the cache has them afterwards.
at::Tensor next_logits(DecoderImpl& decoder, KvCache& cache, const std::vector<std::vector<data::TokenId>>& inputs);

}  // namespace lowrank::models
