// The forward pass of generation: the next token of several sequences at once, of whose beginnings a cache knows.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "lowrank/data/tokenizer/tokenizer.h"
#include "lowrank/models/decoder.h"

namespace lowrank::models {

/// Logits [n, V] fp32, on the host, of the token after each of n sequences. What `cache` has not of a sequence (at
/// least one token; they need not be equally many) is read, and cached afterwards. Where a sequence grows over the
/// length at which longrope takes other frequencies, or is cut below it, all of it is read anew, as transformers' Phi-3
/// does.
at::Tensor next_logits(DecoderImpl& decoder, KvCache& cache,
                       const std::vector<std::span<const data::TokenId>>& sequences);

}  // namespace lowrank::models
