// What the tokenizers need of Unicode: characters of valid UTF-8, a few properties, the normal forms.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lowrank::data {

/// The character that begins at text[at]; `at` moves behind it. The text must be valid UTF-8 and at < text.size().
char32_t next_character(std::string_view text, std::size_t& at);
/// Bytes of the character that begins with this byte.
std::size_t character_length(char lead);
void append_character(std::string& out, char32_t c);
std::size_t count_characters(std::string_view text);

bool is_white_space(char32_t c);  // the White_Space property
// As the parts of the reference that are named have them (properties.h).
bool is_numeric(char32_t c);      // Digits
bool is_punctuation(char32_t c);  // Punctuation
bool is_word(char32_t c);         // Whitespace, single_word
bool is_mark(char32_t c);         // StripAccents
bool is_nonspacing(char32_t c);   // BertNormalizer: strip_accents
bool is_control(char32_t c);      // BertNormalizer: clean_text

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

/// O(n log n) even for endless runs of combining marks. The text must be valid UTF-8.
std::string normalize(std::string_view text, NormalForm form);
/// Character by character, without context (a final sigma stays σ), as PyPI tokenizers' Lowercase.
std::string lowercase(std::string_view text);

}  // namespace lowrank::data
