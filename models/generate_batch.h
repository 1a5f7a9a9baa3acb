// Generation of many answers at once: one flat stream of tokens without padding, prompts of any lengths.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "lowrank/models/generate.h"

namespace lowrank::models {

struct BatchPrompt {
  std::vector<data::TokenId> ids;
  /// The prompt's number. Draws are keyed by (seed, number, place in the answer), so a prompt's answer does not depend
  /// on what else is in the batch; prompts of one number draw alike.
  std::uint64_t number = 0;
};

struct BatchOptions {
  std::int64_t size = 0;  // answers that grow at the same time, at most; 0: all
  /// Told of each answer as it ends, by its prompt's place in `prompts`: in the order in which they end.
  std::function<void(std::size_t, const Generated&)> on_answer = {};
  /// Told after each step how many tokens were drawn in it; what it throws ends the generation.
  std::function<void(std::int64_t)> on_step = {};
};

/// An answer for each prompt, in their order: but for the rounding of matrix products of other sizes, and for draws
/// keyed by the prompt's number, what generate() gives each alone. When an answer ends, the next prompt takes its place
/// at once. Nothing is recorded for a backward pass. ConfigError as generate(), before anything is generated.
std::vector<Generated> generate_batch(DecoderImpl& decoder, const data::Tokenizer& tokenizer,
                                      const std::vector<BatchPrompt>& prompts, const GenerateOptions& options,
                                      const BatchOptions& batch = {});

}  // namespace lowrank::models
