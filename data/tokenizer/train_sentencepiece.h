// `lowrank tokenizer train`: a SentencePiece BPE model with byte fallback, in the layout of a Llama model folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lowrank::data {

struct TokenizerTraining {
  std::vector<std::filesystem::path> files;  // UTF-8 text
  std::filesystem::path out;  // folder that is made, at once, of tokenizer.model, tokenizer.json and the two small files beside them
  int vocab_size = 4096;
  std::uint64_t seed = 42;
};

/// Byte-pair encoding with byte fallback, digits apart, no normalisation, a space before every text; ids 0, 1, 2 are
/// <unk>, <s>, </s>. The same files give the same bytes. ConfigError for impossible options, DataError when the text is
/// too little for the vocabulary (or has more characters than it), MissingError, IoError.
void train_sentencepiece(const TokenizerTraining& options);

}  // namespace lowrank::data
