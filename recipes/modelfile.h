// Ollama's Modelfile beside a GGUF file.
#pragma once

#include <filesystem>
#include <string>

#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::recipes {

/// What `ollama create NAME -f Modelfile` reads: the file, what ends an answer, and how answers are drawn, by the
/// generation_config.json of `folder`. (Ollama takes the chat template from the GGUF file.)
std::string modelfile(const std::string& gguf, const std::filesystem::path& folder, const data::Tokenizer& tokenizer);

}  // namespace lowrank::recipes
