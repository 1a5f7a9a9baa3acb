// Beam search: the answers that the model finds likeliest as a whole, in transformers' semantics.
#pragma once

#include <cstdint>
#include <vector>

#include "lowrank/models/generate_batch.h"

namespace lowrank::models {

/// When a search with as many ended answers as beams stops (transformers' early_stopping).
enum class BeamStop {
  kFull,       // true: at once
  kHeuristic,  // false, the default: when the best growing beam, at its length of now, scores no better than the worst
               // of them
  kNever,      // "never": the same, but for a positive length penalty at the greatest length it may reach
};

struct BeamOptions {
  std::int64_t beams = 4;
  /// An ended answer's score is the sum of its log-probabilities over (number of its tokens)^length_penalty: more than
  /// 0 favours long answers, less than 0 short ones.
  double length_penalty = 1;
  BeamStop stop = BeamStop::kHeuristic;
};

/// The best answer of each prompt, in their order, with Generated::score. Every step keeps the `beams` likeliest
/// beginnings of each prompt; penalties act on log-probabilities, as in transformers' beam search (the end token and
/// stop strings end a beam). options.temperature must be 0, and top-k and top-p are off; Generated::log_probs are those
/// before penalties. `batch` as in generate_batch; its size counts prompts. ConfigError for options that make no sense.
std::vector<Generated> beam_search(DecoderImpl& decoder, const data::Tokenizer& tokenizer,
                                   const std::vector<BatchPrompt>& prompts, const GenerateOptions& options,
                                   const BeamOptions& beams, const BatchOptions& batch = {});

}  // namespace lowrank::models
