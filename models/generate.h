// Generation with the KV cache.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lowrank/data/tokenizer/tokenizer.h"
#include "lowrank/models/blocks/kv_dtype.h"
#include "lowrank/models/decoder.h"

namespace lowrank::models {

/// Sampling in transformers' order: repetition penalty, repeated n-grams, temperature, top-k, top-p.
struct GenerateOptions {
  std::int64_t max_new_tokens = 128;
  double temperature = 0;  // 0: greedy
  std::int64_t top_k = 0;  // 0: off
  double top_p = 1;
  double repetition_penalty = 1;
  std::vector<std::string> stop = {};  // text that ends the answer and is not part of it
  std::uint64_t seed = 42;
  bool ignore_eos = false;
  std::vector<data::TokenId> end_ids = {};  // that end the answer, beside the model's own end tokens
  std::int64_t no_repeat_ngram = 0;         // no run of this many tokens twice, the prompt's included; 0: off
  bool log_probs = false;                   // Generated::log_probs is filled
  KvDtype cache = KvDtype::kAuto;           // keys and values of what was read
};

struct Generated {
  std::string text;
  std::vector<data::TokenId> prompt_ids, ids;  // ids: the new ones, the end token included
  std::string finish;                          // "eos", "stop", "length"
  std::vector<double> log_probs;               // of each of ids, where asked for: see log_probability
  double score = 0;                            // from beam_search alone
};

/// `on_text` is given text as it becomes certain (never half a character, never a stop string's beginning). A `cache`
/// that is given holds the beginning of `prompt` already, shorter than the prompt, and is left with all that was read.
Generated generate(DecoderImpl& decoder, const data::Tokenizer& tokenizer, const std::vector<data::TokenId>& prompt,
                   const GenerateOptions& options, const std::function<void(const std::string&)>& on_text = {},
                   KvCache* cache = nullptr);

/// ConfigError for values that make no sense.
void check(const GenerateOptions& options);

/// One draw from logits [V] fp32; `seen`: ids so far, for the penalties; the draw's counters are its place in the
/// answer and the number of the prompt.
data::TokenId sample(const at::Tensor& logits, const GenerateOptions& options, const std::vector<data::TokenId>& seen,
                     std::uint64_t place, std::uint64_t prompt = 0);

/// log softmax(logits / temperature)[id] in double, logits [V] fp32: what the model itself gives the token at this
/// temperature, before penalties, top-k and top-p. Temperature 0 (greedy) counts as 1.
double log_probability(const at::Tensor& logits, double temperature, data::TokenId id);

/// The penalties of `options` on one row of scores: repeated tokens are made less likely, tokens that would repeat an
/// n-gram get -infinity. ConfigError when no token is left.
void apply_penalties(std::vector<float>& scores, const GenerateOptions& options,
                     const std::vector<data::TokenId>& seen);

}  // namespace lowrank::models
