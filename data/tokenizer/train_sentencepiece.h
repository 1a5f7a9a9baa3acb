// `lowrank tokenizer train`: a SentencePiece BPE model with byte fallback, in the layout of a Llama model folder.
#pragma once

#include <cstdint>

#include <filesystem>
#include <string>
#include <vector>

namespace lowrank::data {

struct TokenizerTraining {
  std::vector<std::filesystem::path> files;    // UTF-8 text
  std::filesystem::path out;                   // folder: tokenizer.model, tokenizer.json and the two small files beside them
  int vocab_size = 4096;
  std::uint64_t seed = 42;
};

void train_sentencepiece(const TokenizerTraining& options);

}  // namespace lowrank::data
