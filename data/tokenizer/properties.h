// Classes of characters by name, as the expressions of tokenizer.json (Oniguruma's) use them.
#pragma once

#include <optional>
#include <string_view>

#include "lowrank/data/tokenizer/character_set.h"

namespace lowrank::data {

/// \p{name}: general categories, scripts (not script extensions), Alphabetic, Lowercase, Uppercase, White_Space, Any,
/// Assigned, ASCII and the POSIX classes; case, spaces, - and _ do not count. Nothing for another name.
std::optional<CharacterSet> character_property(std::string_view name);

/// [:name:]; nothing for another name.
std::optional<CharacterSet> posix_class(std::string_view name);

/// \w outside a class, which has ² ³ ¹ ¼ ½ ¾ too; in a class it is posix_class("word").
CharacterSet word_alone();

/// The classes of the reference's parts that are written in Rust, each of which has its own version of Unicode.
struct RustClasses {
  CharacterSet numeric;      // Digits
  CharacterSet punctuation;  // Punctuation, BertPreTokenizer
  CharacterSet word;         // Whitespace, single_word
  CharacterSet mark;         // StripAccents
  CharacterSet nonspacing;   // BertNormalizer: strip_accents
  CharacterSet control;      // BertNormalizer: clean_text
};
RustClasses rust_classes();

}  // namespace lowrank::data
