#include "lowrank/data/tokenizer/token_model.h"

#include <fmt/format.h>

#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/bpe.h"
#include "lowrank/data/tokenizer/unigram.h"
#include "lowrank/data/tokenizer/word_models.h"

namespace lowrank::data {

std::unique_ptr<const TokenModel> TokenModel::make(const core::JsonView& model) {
  // Old files have no "type"; what else they have tells them apart, as it does for the reference.
  const std::string type = model.has_value("type")                 ? model.at("type").as_string()
                           : model.has("merges")                   ? "BPE"
                           : model.has("max_input_chars_per_word") ? "WordPiece"
                           : model.has("unk_token")                ? "WordLevel"
                                                                   : "Unigram";
  if (type == "BPE") return std::make_unique<Bpe>(model);
  if (type == "Unigram") return std::make_unique<Unigram>(model);
  if (type == "WordPiece") return std::make_unique<WordPiece>(model);
  if (type == "WordLevel") return std::make_unique<WordLevel>(model);
  model.fail("the tokenizer model '" + core::printable(type, 40) + "' is not supported");
}

void TokenModel::read_vocabulary(const core::JsonView& vocab) {
  if (!vocab.is_object()) vocab.fail("expected an object of tokens and their ids");
  if (vocab.raw().empty()) vocab.fail("an empty vocabulary");
  for (const auto& [token, value] : vocab.raw().items()) {
    const auto entry = [&] { return core::JsonView(value, vocab.where() + "." + core::printable(token, 40)); };
    const auto id = static_cast<TokenId>(entry().as_int(0, kMaxTokenId));
    if (!vocabulary_.add(token, id)) {
      const std::string* other = vocabulary_.token(id);
      entry().fail(fmt::format("the id {} is also that of '{}'", id, core::printable(other ? *other : token, 40)));
    }
  }
}

}  // namespace lowrank::data
