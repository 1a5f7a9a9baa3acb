// Generation with the KV cache.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lowrank/data/tokenizer/tokenizer.h"
#include "lowrank/models/decoder.h"

namespace lowrank::models {

/// Sampling in transformers' order: repetition penalty, temperature, top-k, top-p.
struct GenerateOptions {
  std::int64_t max_new_tokens = 128;
  double temperature = 0;                 // 0: greedy
  std::int64_t top_k = 0;                 // 0: off
  double top_p = 1;
  double repetition_penalty = 1;
  std::vector<std::string> stop = {};     // text that ends the answer and is not part of it
  std::uint64_t seed = 42;
  bool ignore_eos = false;
};

struct Generated {
  std::string text;
  std::vector<data::TokenId> prompt_ids, ids;     // ids: the new ones, the end token included
  std::string finish;                             // "eos", "stop", "length"
};

/// `on_text` is given text as it becomes certain (never half a character, never a stop string's beginning). A `cache` that
/// is given holds the beginning of `prompt` already, shorter than the prompt, and is left with all that was read.
Generated generate(DecoderImpl& decoder, const data::Tokenizer& tokenizer, const std::vector<data::TokenId>& prompt,
                   const GenerateOptions& options, const std::function<void(const std::string&)>& on_text = {},
                   KvCache* cache = nullptr);

/// One draw from logits [V] fp32; `seen`: ids so far, for the penalty; `place`: counter of the draw.
data::TokenId sample(const at::Tensor& logits, const GenerateOptions& options,
                     const std::vector<data::TokenId>& seen, std::uint64_t place);

}  // namespace lowrank::models
