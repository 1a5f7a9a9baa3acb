// tokenizer.ggml.pre: which of llama.cpp's pre-tokenizers a byte-level tokenizer has.
#pragma once

#include <optional>
#include <string>

#include "lowrank/core/json.h"
#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::data {

/// What llama.cpp's converter knows a tokenizer by: the SHA-256 of the ids of a text that parts them.
std::string gguf_probe_hash(const Tokenizer& tokenizer);
/// The pre-tokenizer of a tokenizer that it knows.
std::optional<std::string> gguf_pre_of_hash(const std::string& hash);

/// By the steps of tokenizer.json, for a tokenizer of one's own with the steps of GPT-2, Llama 3 or Qwen 2 (the
/// vocabulary decides the hash too). Nothing for other steps.
std::optional<std::string> gguf_pre_of_steps(const core::JsonView& tokenizer);

}  // namespace lowrank::data
