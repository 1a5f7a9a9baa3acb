// GPT-2's way to write any byte as a visible character, so that a vocabulary of texts can hold all bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lowrank::data {

/// Printable Latin-1 bytes stand for themselves; the others are U+0100, U+0101, ... in order.
void append_byte_level(std::string& out, std::string_view bytes);

/// The bytes that a token's text stands for, or nothing when it has a character that stands for no byte.
std::optional<std::string> byte_level_bytes(std::string_view token);

}  // namespace lowrank::data
