#include "lowrank/data/tokenizer/tokenizer.h"

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/data/tokenizer/hf_tokenizer.h"
#include "lowrank/data/tokenizer/sentencepiece_tokenizer.h"
#include "lowrank/data/tokenizer/special_tokens.h"
#include "lowrank/data/tokenizer/tiktoken.h"

namespace lowrank::data {

namespace fs = std::filesystem;

namespace {

// The file that a folder's tokenizer is read from; empty when there is none.
fs::path tokenizer_file(const fs::path& directory) {
  for (const char* name : {"tokenizer.json", "tekken.json", "tokenizer.model"}) {
    if (fs::exists(directory / name)) return directory / name;
  }
  fs::path found;  // the first by name
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (entry.path().extension() == ".tiktoken" && (found.empty() || entry.path() < found)) found = entry.path();
  }
  return found;
}

}  // namespace

bool Tokenizer::is_in(const fs::path& directory) { return !tokenizer_file(directory).empty(); }

std::vector<TokenId> Tokenizer::encode_prompt(std::string_view text) const {
  std::vector<TokenId> ids = encode(text, true);
  if (adds_eos() && !ids.empty() && ids.back() == eos()) ids.pop_back();
  return ids;
}

std::shared_ptr<const Tokenizer> Tokenizer::load(const fs::path& directory) {
  const fs::path file = tokenizer_file(directory);
  if (file.empty()) {
    throw MissingError(directory.string() +
                       ": no tokenizer here; expected tokenizer.json, tekken.json, tokenizer.model or a .tiktoken file "
                       "(vocab.json and merges.txt alone can be converted by saving them with transformers' "
                       "AutoTokenizer)");
  }
  const SpecialTokens special = read_special_tokens(directory);
  std::shared_ptr<Tokenizer> tokenizer;
  if (file.filename() == "tokenizer.json") {
    tokenizer = HfTokenizer::read(file, special);
  } else if (file.filename() == "tekken.json") {
    tokenizer = read_tekken(file, special);
  } else {
    const std::string bytes = core::read_file(file);
    if (is_tiktoken(bytes)) {
      tokenizer = read_tiktoken(bytes, file, special);
    } else {
      tokenizer = std::make_shared<SentencePieceTokenizer>(bytes, file.string(), special);
    }
  }
  tokenizer->files_.push_back(file);
  const fs::path model_file = directory / "tokenizer.model";
  if (file != model_file && fs::exists(model_file)) tokenizer->files_.push_back(model_file);
  tokenizer->files_.insert(tokenizer->files_.end(), special.files.begin(), special.files.end());
  tokenizer->has_chat_template_ = special.has_chat_template;
  return tokenizer;
}

}  // namespace lowrank::data
