#include "lowrank/data/tokenizer/tokenizer.h"

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/data/tokenizer/hf_tokenizer.h"
#include "lowrank/data/tokenizer/sentencepiece_tokenizer.h"
#include "lowrank/data/tokenizer/special_tokens.h"

namespace lowrank::data {

std::shared_ptr<const Tokenizer> Tokenizer::load(const std::filesystem::path& directory) {
  namespace fs = std::filesystem;
  const fs::path json_file = directory / "tokenizer.json", model_file = directory / "tokenizer.model";
  const bool has_json = fs::exists(json_file), has_model = fs::exists(model_file);
  if (!has_json && !has_model) {
    throw MissingError(directory.string() +
                       ": no tokenizer here; expected tokenizer.json or tokenizer.model (vocab.json and merges.txt "
                       "alone can be converted by saving them with transformers' AutoTokenizer)");
  }
  const SpecialTokens special = read_special_tokens(directory);
  std::shared_ptr<Tokenizer> tokenizer;
  if (has_json) {
    tokenizer = std::make_shared<HfTokenizer>(core::read_json(json_file), json_file.string(), special);
  } else {
    tokenizer = std::make_shared<SentencePieceTokenizer>(core::read_file(model_file), model_file.string(), special);
  }
  if (has_json) tokenizer->files_.push_back(json_file);
  if (has_model) tokenizer->files_.push_back(model_file);
  tokenizer->files_.insert(tokenizer->files_.end(), special.files.begin(), special.files.end());
  tokenizer->has_chat_template_ = special.has_chat_template;
  return tokenizer;
}

}  // namespace lowrank::data
