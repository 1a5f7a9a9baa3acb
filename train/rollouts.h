// Answers drawn from the model that learns, and their scores: where every objective that learns from rewards begins.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lowrank/data/example.h"
#include "lowrank/data/prompts.h"
#include "lowrank/models/decoder.h"
#include "lowrank/train/reward.h"

namespace lowrank::train {

struct DrawnAnswer {
  data::Example example;  // prompt and answer; learned is the answer, its end token included
  Answer answer;          // as a reward takes it
  bool ended = false;     // with an end token
  /// Tokens of the answer, the end token included.
  std::int64_t length() const { return static_cast<std::int64_t>(example.ids.size()) - prompt; }
  std::int64_t prompt = 0;  // tokens of it
};

/// An answer of at most `longest` tokens to each of prompts[which[i]], drawn at temperature 1, so that their
/// probabilities are those of the model itself. `first`: the number of the first among all that are drawn with this
/// seed; `ends`: tokens that end an answer beside the model's own; an answer depends on (seed, its number, the prompt,
/// the model) alone, but for the rounding of products.
std::vector<DrawnAnswer> draw_answers(models::DecoderImpl& decoder, const data::Tokenizer& tokenizer,
                                      const std::vector<data::Prompt>& prompts, std::span<const std::uint32_t> which,
                                      std::int64_t longest, std::uint64_t seed, std::uint64_t first = 0,
                                      const std::vector<data::TokenId>& ends = {});

/// A finite score for each. InternalError where the reward gives another number of them, DataError, which names the
/// prompt, where one is not finite.
std::vector<double> scores_of(const Reward& reward, const std::vector<DrawnAnswer>& answers);

/// Length of the prompt: tokens before the first that is learned.
std::int64_t prompt_length(const data::Example& example);

}  // namespace lowrank::train
