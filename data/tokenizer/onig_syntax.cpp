// Oniguruma's Ruby syntax to PCRE2's. They share almost everything that tokenizers use; where one spelling means two
// things it is rewritten (classes whose Unicode definition differs, \h, \v, (?m)) or refused.
#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/onig_regex.h"

namespace lowrank::data {

namespace {

// White_Space (PCRE2's \s has U+180E too) and its complement, as the inside of a class.
constexpr std::string_view kSpace = R"(\t-\r\x{85}\p{Z})";
constexpr std::string_view kNotSpace =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027})"
    R"(\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
// UTS #18 (PCRE2's \w has no marks, and other numbers).
constexpr std::string_view kWord =
    R"(\p{L}\p{Nl}\p{M}\p{Nd}\p{Pc}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : p_(pattern), where_(where) {}

  std::string run() {
    while (at_ < p_.size()) {
      const char c = p_[at_];
      if (c == '\\') {
        escape(false);
      } else if (c == '[') {
        char_class();
      } else if (c == '(') {
        group();
      } else if (c == '{') {
        interval();
      } else {
        out_.push_back(c);
        ++at_;
      }
    }
    return "(?m)" + out_;  // ^ and $ are those of lines
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw FormatError(fmt::format("{}: the regular expression '{}' uses {}, which is not supported", where_,
                                  core::printable(p_), what));
  }

  void escape(bool in_class) {
    if (at_ + 1 >= p_.size()) refuse("a backslash at its end");
    const char c = p_[at_ + 1];
    at_ += 2;
    const auto set = [&](std::string_view inside, bool negated) {
      if (in_class && negated) refuse(fmt::format("\\{} inside a class", c));
      out_ += in_class ? std::string(inside) : fmt::format("[{}{}]", negated ? "^" : "", inside);
    };
    switch (c) {
      case 's':
        return set(kSpace, false);
      case 'S':
        return in_class ? set(kNotSpace, false) : set(kSpace, true);
      case 'w':
        return set(kWord, false);
      case 'W':
        return set(kWord, true);
      case 'h':
        return set("0-9a-fA-F", false);
      case 'H':
        return set("0-9a-fA-F", true);
      case 'v':
        out_ += "\\x{0b}";
        return;
      case 'u': {
        if (p_.substr(at_, 4).size() < 4) refuse("\\u without four digits");
        out_ += fmt::format("\\x{{{}}}", p_.substr(at_, 4));
        at_ += 4;
        return;
      }
      case 'Q':
      case 'E':
      case 'C':
      case 'N':
      case 'y':
      case 'Y':
      case 'M':
      case 'O':
        refuse(fmt::format("\\{}", c));
      case 'p':
      case 'P':
      case 'x': {  // with their braces, which are no interval
        out_ += fmt::format("\\{}", c);
        if (at_ < p_.size() && p_[at_] == '{') {
          const auto close = p_.find('}', at_);
          if (close == std::string_view::npos) refuse(fmt::format("\\{} without a closing brace", c));
          out_ += p_.substr(at_, close + 1 - at_);
          at_ = close + 1;
        }
        return;
      }
      default:
        out_ += fmt::format("\\{}", c);
    }
  }

  void char_class() {
    out_.push_back('[');
    ++at_;
    if (at_ < p_.size() && p_[at_] == '^') {
      out_.push_back('^');
      ++at_;
    }
    if (at_ < p_.size() && p_[at_] == ']') refuse("an empty class");
    while (at_ < p_.size() && p_[at_] != ']') {
      if (p_[at_] == '\\') {
        escape(true);
      } else if (p_.substr(at_).starts_with("[:")) {
        const auto close = p_.find(":]", at_);
        if (close == std::string_view::npos) refuse("a class inside a class");
        out_ += p_.substr(at_, close + 2 - at_);
        at_ = close + 2;
      } else if (p_[at_] == '[') {
        refuse("a class inside a class");
      } else if (p_.substr(at_).starts_with("&&")) {
        refuse("an intersection of classes");
      } else {
        out_.push_back(p_[at_++]);
      }
    }
    if (at_ == p_.size()) refuse("a class without its closing bracket");
    out_.push_back(']');
    ++at_;
  }

  // (?m) is Ruby's "dot matches newline", PCRE2's (?s); (?i) in the middle reaches differently far in the two.
  void group() {
    if (p_.substr(at_).starts_with("(*")) refuse("a (*VERB)");
    const bool first = at_ == 0;
    out_.push_back('(');
    ++at_;
    if (at_ >= p_.size() || p_[at_] != '?') return;
    std::size_t end = at_ + 1;
    while (end < p_.size() && (p_[end] == 'i' || p_[end] == 'm' || p_[end] == 'x' || p_[end] == '-')) ++end;
    if (end == at_ + 1 || end >= p_.size() || (p_[end] != ':' && p_[end] != ')')) return;
    if (p_[end] == ')' && !first) refuse("options in the middle, like (?i)");
    for (; at_ <= end; ++at_) out_.push_back(p_[at_] == 'm' ? 's' : p_[at_]);
  }

  void interval() {
    std::size_t end = at_ + 1;
    while (end < p_.size() && (p_[end] == ',' || (p_[end] >= '0' && p_[end] <= '9'))) ++end;
    const bool is_interval = end < p_.size() && p_[end] == '}' && end > at_ + 1 && p_.substr(at_, 3) != "{,}";
    if (!is_interval) {
      out_ += "\\{";
      ++at_;
      return;
    }
    if (end + 1 < p_.size() && p_[end + 1] == '+') refuse("an interval followed by +");
    out_ += p_[at_ + 1] == ',' ? "{0" : "{";
    out_ += p_.substr(at_ + 1, end - at_);
    at_ = end + 1;
  }

  std::string_view p_;
  const std::string& where_;
  std::string out_;
  std::size_t at_ = 0;
};

}  // namespace

std::string oniguruma_to_pcre2(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

}  // namespace lowrank::data
