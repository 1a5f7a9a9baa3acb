// Strings as Python sees them: by character, with Python's idea of white space, case and classes. Texts are valid
// UTF-8.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace lowrank::data::jinja {

bool is_python_space(char32_t c);  // str.isspace
bool is_printable(char32_t c);     // str.isprintable
bool is_cased(char32_t c);
bool is_lower(char32_t c);
bool is_upper(char32_t c);
bool is_alpha(char32_t c);
bool is_decimal(char32_t c);
bool is_digit(char32_t c);
bool is_numeric_character(char32_t c);

/// str.isupper (or islower): at least one letter with a case, and none of the other.
bool is_in_case(std::string_view text, bool wants_upper);

std::u32string characters_of(std::string_view text);
std::string to_utf8(std::u32string_view characters);

/// Byte offset of the character with this index (at most the text's end).
std::size_t offset_of(std::string_view text, std::size_t characters_in_text, std::size_t index);

std::string upper(std::string_view text);
std::string lower(std::string_view text);  // with the final sigma
std::string casefold(std::string_view text);
std::string title(std::string_view text);       // str.title
std::string capitalize(std::string_view text);  // str.capitalize
std::string swapcase(std::string_view text);

/// Without leading (left) and trailing (right) white space, or characters of `characters` where it is not null.
std::string_view strip(std::string_view text, const std::string_view* characters, bool left, bool right);
/// The pieces between line ends as Python knows them (\n \r \r\n \v \f \x1c-\x1e \x85 U+2028 U+2029).
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);
std::vector<std::string_view> split_space(std::string_view text, std::ptrdiff_t most, bool from_right);

/// As Python writes the string in source: quoted, with escapes.
std::string string_literal(std::string_view text);
/// & < > ' " as HTML entities, as markupsafe writes them.
std::string escape_html(std::string_view text);
/// The shortest digits that read back as the same number, as Python's repr: 1.0, 1e+16, inf.
std::string float_text(double value);

}  // namespace lowrank::data::jinja
