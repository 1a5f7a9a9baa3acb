#include "lowrank/data/tokenizer/token_model.h"

#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/bpe.h"
#include "lowrank/data/tokenizer/unigram.h"
#include "lowrank/data/tokenizer/word_models.h"

namespace lowrank::data {

std::unique_ptr<const TokenModel> TokenModel::make(const core::JsonView& model, ModelTables tables) {
  // Old files have no "type"; what else they have tells them apart, as it does for the reference.
  const std::string type = model.has_value("type")                 ? model.at("type").as_string()
                           : model.has("merges")                   ? "BPE"
                           : model.has("max_input_chars_per_word") ? "WordPiece"
                           : model.has("unk_token")                ? "WordLevel"
                                                                   : "Unigram";
  if (type == "BPE") return std::make_unique<Bpe>(model, std::move(tables));
  if (type == "Unigram") return std::make_unique<Unigram>(model, std::move(tables));
  if (type == "WordPiece") return std::make_unique<WordPiece>(model, std::move(tables));
  if (type == "WordLevel") return std::make_unique<WordLevel>(model, std::move(tables));
  model.fail("the tokenizer model '" + core::printable(type, 40) + "' is not supported");
}

void TokenModel::check_vocabulary(const core::JsonView& model) const {
  const core::JsonView vocab = model.at("vocab");
  if (!vocab.is_object()) vocab.fail("expected an object of tokens and their ids");
  if (vocabulary_.count() == 0) vocab.fail("an empty vocabulary");
}

}  // namespace lowrank::data
