// How the prompts of a batch begin: what generate_batch and beam_search share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lowrank/models/answer.h"
#include "lowrank/models/generate_batch.h"

namespace lowrank::models {

/// An empty answer for each prompt; ConfigError that says which prompt is empty or too long.
std::vector<Answer> begin_answers(const DecoderImpl& decoder, const data::Tokenizer& tokenizer,
                                  const std::vector<BatchPrompt>& prompts, const GenerateOptions& options);

/// The end of those prompts, from `next` on, that may begin in this step: while fewer than `size` grow (0: no limit),
/// and at most 4096 tokens of prompts are read in a step (but always one prompt), so that memory does not grow with the
/// batch.
std::size_t admit(const std::vector<BatchPrompt>& prompts, std::size_t next, std::size_t growing, std::int64_t size);

}  // namespace lowrank::models
