// The files beside a SentencePiece model that make its folder a Llama tokenizer for every reader of such folders.
#pragma once

#include <string>

#include "lowrank/data/tokenizer/sentencepiece_model.h"

namespace lowrank::data {

/// tokenizer.json that gives the same ids: Prepend and Replace as normalizer, BPE with byte fallback, BOS before a
/// text. Pieces 0, 1, 2 must be unknown, BOS and EOS.
std::string llama_tokenizer_json(const SentencePieceModel& model);
std::string llama_tokenizer_config(const SentencePieceModel& model);
std::string llama_special_tokens_map(const SentencePieceModel& model);

}  // namespace lowrank::data
