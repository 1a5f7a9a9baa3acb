// Vocabularies of ranked byte strings: tekken.json (Mistral) and tiktoken's text files.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "lowrank/data/tokenizer/special_tokens.h"
#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::data {

/// tekken.json: its own pattern, special tokens and their place before the vocabulary. BOS is added, as by Mistral's
/// library. FormatError when it cannot be right.
std::shared_ptr<Tokenizer> read_tekken(const std::filesystem::path& file, SpecialTokens special);

/// Whether a file is lines of "<base64> <rank>".
bool is_tiktoken(std::string_view bytes);

/// Such a file's bytes. The pattern is tokenizer_config.json's "pat_str" or that of the family which the file's name is
/// known for (tokenizer.model: Llama 3); its special tokens are those of added_tokens_decoder. FormatError when neither
/// says it.
std::shared_ptr<Tokenizer> read_tiktoken(const std::string& bytes, const std::filesystem::path& file,
                                         const SpecialTokens& special);

}  // namespace lowrank::data
