// From stretches of a text to the tokens that stand for them.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "lowrank/data/chat/chat_template.h"
#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::data {

/// Where each token ends in the text that it was made from, in bytes. Nothing where the tokens do not spell the text
/// (a tokenizer that normalises it).
std::optional<std::vector<std::size_t>> token_ends(const Tokenizer& tokenizer, std::string_view text,
                                                   const std::vector<TokenId>& ids);

/// 1 for each token that has part in one of the stretches, as transformers' assistant masks; the stretches are in order
/// and do not overlap. `ids` are those of the whole text, without added special tokens.
std::vector<std::uint8_t> token_mask(const Tokenizer& tokenizer, std::string_view text, const std::vector<TokenId>& ids,
                                     const std::vector<ChatSpan>& spans);

}  // namespace lowrank::data
