#include "lowrank/data/chat/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

#include "lowrank/core/number.h"
#include "lowrank/core/text.h"
#include "lowrank/data/chat/characters.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data::jinja {
namespace {

// Longest first.
constexpr std::array<std::string_view, 26> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                         "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                         ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

bool is_digit_of(char c, int base) {
  if (c >= '0' && c <= '9') return c - '0' < base;
  const char low = static_cast<char>(c | 0x20);
  return base == 16 && low >= 'a' && low <= 'f';
}

// "\r\n" and "\r" as "\n", and one line end at the end left off.
std::string normalized(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : text_(normalized(source)) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) root();
    add(TokenType::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const { throw SyntaxError{line_, message}; }
  std::string_view rest() const { return std::string_view(text_).substr(at_); }
  bool starts(std::string_view what) const { return rest().starts_with(what); }

  void advance(std::size_t n) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         text_.begin() + static_cast<std::ptrdiff_t>(at_ + n), '\n'));
    line_starting_ = n > 0 && text_[at_ + n - 1] == '\n';
    at_ += n;
  }

  std::size_t space_from(std::size_t from) const {
    std::size_t at = from;
    while (at < text_.size()) {
      std::size_t next = at;
      if (!is_python_space(next_character(text_, next))) break;
      at = next;
    }
    return at - from;
  }

  void add(TokenType type, std::string text) {
    Token token;
    token.type = type;
    token.line = line_;
    token.text = std::move(text);
    tokens_.push_back(std::move(token));
  }

  // `sign`: what stands behind the tag's begin; white space before the tag is left off as it says.
  void add_data(std::string_view data, char sign, bool is_variable) {
    if (sign == '-') {
      data = strip(data, nullptr, false, true);
    } else if (sign != '+' && !is_variable) {
      const std::size_t newline = data.rfind('\n');
      const std::size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
      if ((begin > 0 || line_starting_) && strip(data.substr(begin), nullptr, true, true).empty()) {
        data = data.substr(0, begin);
      }
    }
    if (!data.empty()) add(TokenType::kData, std::string(data));
  }

  char sign_at(std::size_t at) const {
    return at < text_.size() && (text_[at] == '-' || text_[at] == '+') ? text_[at] : 0;
  }

  // Length of "{% raw %}" here, or 0.
  std::size_t raw_begin(std::size_t from, char& sign) const {
    std::size_t at = from + 2;
    sign = sign_at(at);
    if (sign != 0) ++at;
    at += space_from(at);
    if (std::string_view(text_).substr(at, 3) != "raw") return 0;
    at += 3;
    at += space_from(at);
    if (std::string_view(text_).substr(at, 3) == "-%}") return at + 3 + space_from(at + 3) - from;
    return std::string_view(text_).substr(at, 2) == "%}" ? at + 2 - from : 0;
  }

  void root() {
    std::size_t tag = at_;
    const auto is_begin = [](char c) { return c == '%' || c == '{' || c == '#'; };
    while ((tag = text_.find('{', tag)) != std::string::npos && !(tag + 1 < text_.size() && is_begin(text_[tag + 1])))
      ++tag;
    if (tag == std::string::npos) {
      add(TokenType::kData, std::string(rest()));
      return advance(text_.size() - at_);
    }
    const std::string_view data = rest().substr(0, tag - at_);
    const char kind = text_[tag + 1];
    char sign = 0;
    if (kind == '%') {
      if (const std::size_t raw_length = raw_begin(tag, sign); raw_length > 0) {
        add_data(data, sign, false);
        advance(tag - at_ + raw_length);
        return raw();
      }
    }
    sign = sign_at(tag + 2);
    add_data(data, sign, kind == '{');
    advance(tag - at_ + (sign != 0 ? 3 : 2));
    if (kind == '#') return comment();
    add(kind == '%' ? TokenType::kBlockBegin : TokenType::kVariableBegin, "");
    expression(kind == '%');
  }

  // What follows the end of a tag: all white space behind '-', one line end behind nothing, nothing behind '+'.
  std::size_t behind(std::size_t end, char sign, bool trims) const {
    if (sign == '-') return space_from(end);
    return sign == 0 && trims && end < text_.size() && text_[end] == '\n' ? 1 : 0;
  }

  void comment() {
    const std::size_t end = text_.find("#}", at_);
    if (end == std::string::npos) fail("a comment without its end \"#}\"");
    const char sign = end > at_ ? sign_at(end - 1) : 0;
    advance(end + 2 + behind(end + 2, sign, true) - at_);
  }

  void raw() {
    for (std::size_t tag = at_; (tag = text_.find("{%", tag)) != std::string::npos; tag += 2) {
      std::size_t at = tag + 2;
      const char sign = sign_at(at);
      if (sign != 0) ++at;
      at += space_from(at);
      if (std::string_view(text_).substr(at, 6) != "endraw") continue;
      at += 6;
      at += space_from(at);
      const char end_sign = sign_at(at);
      if (end_sign != 0) ++at;
      if (std::string_view(text_).substr(at, 2) != "%}") continue;
      at += 2;
      add_data(rest().substr(0, tag - at_), sign, false);
      return advance(at + behind(at, end_sign, true) - at_);
    }
    fail("{% raw %} without {% endraw %}");
  }

  void expression(bool is_block) {
    std::string open;
    for (;;) {
      if (open.empty()) {
        const std::string_view end = is_block ? "%}" : "}}";
        const char sign = sign_at(at_);
        const bool signed_end = sign != 0 && rest().substr(1).starts_with(end) && (is_block || sign == '-');
        if (signed_end || starts(end)) {
          const std::size_t size = signed_end ? 3 : 2;
          add(is_block ? TokenType::kBlockEnd : TokenType::kVariableEnd, "");
          return advance(size + behind(at_ + size, signed_end ? sign : 0, is_block));
        }
      }
      if (at_ >= text_.size()) fail(fmt::format("a tag without its end \"{}\"", is_block ? "%}" : "}}"));
      if (const std::size_t space = space_from(at_); space > 0) {
        advance(space);
      } else if (!number() && !name() && !string()) {
        operation(open);
      }
    }
  }

  std::size_t digits_from(std::size_t at, int base) const {  // digits with single underscores between them
    std::size_t end = at;
    while (end < text_.size() &&
           (is_digit_of(text_[end], base) ||
            (text_[end] == '_' && end > at && end + 1 < text_.size() && is_digit_of(text_[end + 1], base)))) {
      ++end;
    }
    return end - at;
  }

  bool number() {
    if (!is_digit_of(text_[at_], 10)) return false;
    const bool behind_dot = at_ > 0 && text_[at_ - 1] == '.';
    const std::size_t whole = digits_from(at_, 10);
    std::size_t end = at_ + whole;
    bool is_float = false;
    if (!behind_dot) {
      if (end < text_.size() && text_[end] == '.') {
        if (const std::size_t fraction = digits_from(end + 1, 10); fraction > 0) {
          end += 1 + fraction;
          is_float = true;
        }
      }
      if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
        const std::size_t sign = sign_at(end + 1) != 0 ? 1 : 0;
        if (const std::size_t power = digits_from(end + 1 + sign, 10); power > 0) {
          end += 1 + sign + power;
          is_float = true;
        }
      }
    }
    int base = 10;
    if (!is_float) {
      end = at_ + whole;
      const char mark = text_[at_] == '0' && at_ + 1 < text_.size() ? static_cast<char>(text_[at_ + 1] | 0x20) : ' ';
      const int marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
      const std::size_t underscore = marked != 0 && at_ + 2 < text_.size() && text_[at_ + 2] == '_' ? 1 : 0;
      if (const std::size_t n = marked != 0 ? digits_from(at_ + 2 + underscore, marked) : 0; n > 0) {
        base = marked;
        end = at_ + 2 + underscore + n;
      } else if (text_[at_] == '0') {  // of 007 only the zeros
        end = at_;
        while (end < at_ + whole && (text_[end] == '0' || text_[end] == '_')) ++end;
        while (text_[end - 1] == '_') --end;
      }
    }
    std::string plain(text_, at_ + (base != 10 ? 2 : 0), end - at_ - (base != 10 ? 2 : 0));
    plain.erase(std::remove(plain.begin(), plain.end(), '_'), plain.end());
    add(is_float ? TokenType::kFloat : TokenType::kInteger, plain);
    Token& token = tokens_.back();
    if (is_float) {
      const auto result = std::from_chars(plain.data(), plain.data() + plain.size(), token.number);
      if (result.ec != std::errc()) token.number = core::read_double(plain);  // 1e999: inf, as Python
    } else if (std::from_chars(plain.data(), plain.data() + plain.size(), token.integer, base).ec != std::errc()) {
      fail("the integer " + core::printable(plain, 30) + " does not fit into 64 bits");
    }
    advance(end - at_);
    return true;
  }

  bool name() {
    std::size_t end = at_;
    while (end < text_.size()) {
      std::size_t next = end;
      const char32_t c = next_character(text_, next);
      if (c != '_' && !(c < 0x80 ? std::isalnum(static_cast<int>(c)) != 0 : is_word(c))) break;
      end = next;
    }
    if (end == at_) return false;
    add(TokenType::kName, text_.substr(at_, end - at_));
    advance(end - at_);
    return true;
  }

  bool string() {
    const char quote = text_[at_];
    if (quote != '\'' && quote != '"') return false;
    std::size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) fail("a string without its closing quote");
    add(TokenType::kString, decode_string(std::string_view(text_).substr(at_ + 1, end - at_ - 1), line_));
    advance(end + 1 - at_);
    return true;
  }

  void operation(std::string& open) {
    const auto it = std::find_if(kOperators.begin(), kOperators.end(), [&](std::string_view o) { return starts(o); });
    if (it == kOperators.end()) {
      fail("unexpected character '" + core::printable(rest().substr(0, character_length(text_[at_]))) + "'");
    }
    const char c = (*it)[0];
    if (c == '{' || c == '(' || c == '[') {
      open += c == '{' ? '}' : c == '(' ? ')' : ']';
    } else if (c == '}' || c == ')' || c == ']') {
      if (open.empty()) fail("unexpected '" + std::string(1, c) + "'");
      if (open.back() != c) fail("unexpected '" + std::string(1, c) + "', expected '" + open.back() + "'");
      open.pop_back();
    }
    add(TokenType::kOperator, std::string(*it));
    advance(it->size());
  }

  std::string text_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

std::string decode_string(std::string_view s, int line) {
  std::string out;
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (s[i] != '\\' || i + 1 >= s.size()) {
      out += s[i];
      continue;
    }
    const char c = s[++i];
    static constexpr std::string_view kLetters = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
    if (c == '\n') continue;
    if (const std::size_t at = kLetters.find(c); at != std::string_view::npos) {
      out += kMeanings[at];
    } else if (is_digit_of(c, 8)) {
      char32_t value = 0;
      std::size_t n = 0;
      for (; n < 3 && i + n < s.size() && is_digit_of(s[i + n], 8); ++n)
        value = value * 8 + static_cast<char32_t>(s[i + n] - '0');
      append_character(out, value);
      i += n - 1;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const std::size_t n = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      std::uint32_t value = 0;
      const std::string_view digits = s.substr(i + 1, n);
      const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
      if (digits.size() < n || result.ec != std::errc() || result.ptr != digits.data() + n) {
        throw SyntaxError{line, "a truncated \\" + std::string(1, c) + " escape in a string"};
      }
      if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
        throw SyntaxError{line, "an escape in a string that stands for no character"};
      }
      append_character(out, value);
      i += n;
    } else if (c == 'N') {
      throw SyntaxError{line,
                        "a character by name (\\N{…}) in a string, which is not supported; write the character itself"};
    } else {
      out += '\\';
      out += c;
    }
  }
  return out;
}

}  // namespace lowrank::data::jinja
