// The "post_processor" of tokenizer.json: the special tokens around a text.
#pragma once

#include <functional>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::data {

struct Template {
  std::vector<TokenId> before, after;
};

/// TemplateProcessing's "single", BertProcessing and RobertaProcessing (ByteLevel adds nothing; Sequence is all of its
/// parts, the later ones outermost). Every id must be a `known` one. FormatError for other types. `json` may be null.
Template read_post_processor(const core::JsonView& json, const std::function<bool(TokenId)>& known);

}  // namespace lowrank::data
