// A tokenizer as llama.cpp has it: the values tokenizer.* of a GGUF file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/formats/gguf.h"

namespace lowrank::data {

struct GgufTokenizer {
  formats::GgufValues values;
  std::string kind;                // for people: "byte-level BPE, pre-tokenizer qwen2"
  std::vector<std::string> notes;  // where it is not as llama.cpp's converter would write it
};

/// The tokenizer, special tokens and chat templates of a folder whose model has `rows` tokens (those that the tokenizer
/// lacks are called [PADn]). tokenizer.json decides, as everywhere: byte-level BPE is "gpt2" with its merges; BPE with
/// byte fallback is "llama", with the pieces and scores of tokenizer.model where that is there, else with scores that
/// keep the order of the merges.
/// (llama.cpp's conversion/base.py and gguf-py's SpecialVocab.) ModelError for a tokenizer of another kind, or whose
/// pre-tokenizer llama.cpp does not have.
GgufTokenizer gguf_tokenizer(const std::filesystem::path& folder, std::int64_t rows);

}  // namespace lowrank::data
