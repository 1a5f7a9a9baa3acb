#include "lowrank/data/tokenizer/limited.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::data {
namespace {

class LimitedTokenizer : public Tokenizer {
 public:
  LimitedTokenizer(std::shared_ptr<const Tokenizer> tokenizer, TokenId rows)
      : inner_(std::move(tokenizer)), rows_(rows) {
    bos_ = inner_->bos(), eos_ = inner_->eos(), pad_ = inner_->pad(), unk_ = inner_->unk();
    adds_bos_ = inner_->adds_bos(), adds_eos_ = inner_->adds_eos();
    has_chat_template_ = inner_->has_chat_template();
    files_ = inner_->files();
  }

  std::vector<TokenId> encode(std::string_view text, bool add_special_tokens) const override {
    std::vector<TokenId> ids = inner_->encode(text, add_special_tokens);
    const auto beyond = std::find_if(ids.begin(), ids.end(), [&](TokenId id) { return id >= rows_; });
    if (beyond == ids.end()) return ids;
    throw DataError(
        fmt::format("a text has the token '{}' (id {}), for which the model has no row: its embedding has {}; take it "
                    "out of the text, or use a model whose embedding was grown for it",
                    core::printable(inner_->id_to_token(*beyond)), *beyond, rows_));
  }
  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const override {
    return inner_->decode(ids, skip_special_tokens);
  }
  std::optional<TokenId> token_to_id(std::string_view token) const override { return inner_->token_to_id(token); }
  std::string id_to_token(TokenId id) const override { return inner_->id_to_token(id); }
  bool is_special(TokenId id) const override { return inner_->is_special(id); }
  bool is_byte(TokenId id) const override { return inner_->is_byte(id); }
  TokenId size() const override { return inner_->size(); }

 private:
  std::shared_ptr<const Tokenizer> inner_;
  TokenId rows_;
};

}  // namespace

std::shared_ptr<const Tokenizer> limited(std::shared_ptr<const Tokenizer> tokenizer, TokenId rows) {
  return std::make_shared<LimitedTokenizer>(std::move(tokenizer), rows);
}

}  // namespace lowrank::data
