// Oniguruma's Ruby syntax, read: an expression over sets of characters.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lowrank/data/tokenizer/character_set.h"

namespace lowrank::data {

/// An expression in PCRE2's syntax in which sets of characters stand for themselves: text[0] sets[0] text[1] sets[1]
/// ...
struct OnigExpression {
  std::vector<std::string> text;    // one more than `places`
  std::vector<std::size_t> places;  // of the sets, in `sets`
  std::vector<CharacterSet> sets;   // each once
};

/// FormatError (naming `where`) for what is not supported or would mean something else here.
OnigExpression read_oniguruma(std::string_view pattern, const std::string& where);

}  // namespace lowrank::data
