// A template's text as tokens, with Jinja's rules of white space (trim_blocks and lstrip_blocks on, as transformers has
// it).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lowrank::data::jinja {

enum class TokenType {
  kData,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Token {
  TokenType type = TokenType::kEnd;
  int line = 1;
  std::string text;  // data, name, decoded string, operator
  std::int64_t integer = 0;
  double number = 0;
};

/// A fault with its line.
struct SyntaxError {
  int line;
  std::string message;
};

/// The last token is kEnd. The source is valid UTF-8. Throws SyntaxError.
std::vector<Token> tokenize(std::string_view source);

/// What stands between the quotes of a string, with Python's escapes decoded. Throws SyntaxError.
std::string decode_string(std::string_view literal, int line);

}  // namespace lowrank::data::jinja
