#include "lowrank/data/tokenizer/onig_class.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/properties.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data {

OnigInput::OnigInput(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {
  if (core::find_invalid_utf8(pattern) != std::string_view::npos) refuse("bytes that are not UTF-8");
}

void OnigInput::refuse(const std::string& what) const {
  throw FormatError(fmt::format("{}: the regular expression '{}' uses {}, which is not supported", where_,
                                core::printable(pattern_), what));
}

std::string OnigInput::text_of(char32_t c) {
  std::string out;
  append_character(out, c);
  return out;
}

char32_t OnigInput::peek() const {
  std::size_t at = at_;
  return next_character(pattern_, at);
}

char32_t OnigInput::next() { return next_character(pattern_, at_); }

bool OnigInput::take(std::string_view text) {
  if (!rest().starts_with(text)) return false;
  at_ += text.size();
  return true;
}

char32_t OnigInput::read_hexadecimal(std::size_t most) {
  std::uint32_t value = 0;
  std::size_t digits = 0;
  for (; digits < most && !at_end(); ++digits, ++at_) {
    const char c = pattern_[at_];
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) break;
    value = value * 16 + static_cast<std::uint32_t>(digit);
  }
  if (digits == 0 || value > kLastCharacter) refuse("a number that is no character's");
  return value;
}

std::shared_ptr<const CharacterSet> OnigInput::known(const std::string& spelling, bool negated,
                                                     const std::function<CharacterSet()>& make) {
  auto& set = known_[(negated ? "not " : "") + spelling];
  if (!set) set = std::make_shared<const CharacterSet>(negated ? ~make() : make());
  return set;
}

// After \p or \P.
std::shared_ptr<const CharacterSet> OnigInput::read_property(bool negated, bool in_class) {
  const auto close = pattern_.find('}', at_);
  if (!take("{")) refuse("\\p without a brace");
  if (close == std::string_view::npos) refuse("\\p without a closing brace");
  std::string_view name = pattern_.substr(at_, close - at_);
  at_ = close + 1;
  if (name.starts_with('^')) {
    negated = !negated;
    name.remove_prefix(1);
  }
  return known((in_class ? "[p" : "p") + std::string(name), negated, [&] {
    auto set = character_property(name);
    if (!set) refuse(fmt::format("the class '{}'", core::printable(name, 40)));
    return in_class && *set == word_alone() ? *posix_class("word") : *set;
  });
}

OnigAtom OnigInput::read_escape(bool in_class) {
  if (at_end()) refuse("a backslash at its end");
  const auto one = [](char32_t c) { return OnigAtom{c, nullptr}; };
  const auto some = [](std::shared_ptr<const CharacterSet> set) { return OnigAtom{std::nullopt, std::move(set)}; };
  const auto posix = [&](const char* name, bool negated) {
    return some(known(name, negated, [&] { return *posix_class(name); }));
  };
  const char32_t c = next();
  switch (c) {
    case 's':
    case 'S':
      return posix("space", c == 'S');
    case 'd':
    case 'D':
      return posix("digit", c == 'D');
    case 'h':
    case 'H':
      return posix("xdigit", c == 'H');
    case 'w':
    case 'W':
      return in_class ? posix("word", c == 'W') : some(known("word alone", c == 'W', word_alone));
    case 'p':
    case 'P':
      return some(read_property(c == 'P', in_class));
    case 't':
      return one('\t');
    case 'n':
      return one('\n');
    case 'r':
      return one('\r');
    case 'f':
      return one('\f');
    case 'v':
      return one('\v');
    case 'a':
      return one('\a');
    case 'e':
      return one(0x1B);
    case 'b':
      if (in_class) return one('\b');
      break;
    case 'x': {
      if (take("{")) {
        const char32_t value = read_hexadecimal(8);
        if (!take("}")) refuse("\\x{ without its closing brace");
        return one(value);
      }
      const char32_t value = read_hexadecimal(2);
      if (value >= 0x80) refuse("\\x with a byte that is no character");
      return one(value);
    }
    case 'u': {
      const std::size_t begin = at_;
      const char32_t value = read_hexadecimal(4);
      if (at_ - begin != 4) refuse("\\u without four digits");
      return one(value);
    }
    default:
      break;
  }
  if (c >= '0' && c <= '9') refuse("a backslash before a digit");
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) refuse("\\" + text_of(c));
  return one(c);
}

// [:name:] and [:^name:]; the [ was read. Null when it is something else.
std::shared_ptr<const CharacterSet> OnigInput::read_posix() {
  const auto close = pattern_.find(":]", at_);
  if (!rest().starts_with(':') || close == std::string_view::npos) return nullptr;
  std::string_view name = pattern_.substr(at_ + 1, close - at_ - 1);
  const bool negated = name.starts_with('^');
  if (negated) name.remove_prefix(1);
  at_ = close + 2;
  return known(std::string(name), negated, [&] {
    auto set = posix_class(name);
    if (!set) refuse(fmt::format("the class '[:{}:]'", core::printable(name, 40)));
    return *set;
  });
}

OnigClass OnigInput::read_class(int depth) {
  if (depth > 20) refuse("classes more than 20 deep");
  OnigClass out;
  out.negated = take("^");
  if (!at_end() && peek() == ']') refuse("an empty class");
  std::optional<CharacterSet> left;      // of the && before
  std::vector<CharacterSet::Range> own;  // since then
  std::vector<std::shared_ptr<const CharacterSet>> sets;
  const auto total = [&] {
    CharacterSet right = CharacterSet::of(std::move(own));
    for (const auto& set : sets) right = right | *set;
    own.clear();
    sets.clear();
    return left ? *left & right : right;
  };
  const auto add = [&](std::shared_ptr<const CharacterSet> set) {
    if (std::find(sets.begin(), sets.end(), set) == sets.end()) sets.push_back(std::move(set));
  };
  while (true) {
    if (at_end()) refuse("a class without its closing bracket");
    if (take("]")) break;
    if (take("&&")) {
      left = total();
      continue;
    }
    if (take("[")) {
      if (auto posix = read_posix()) {
        add(std::move(posix));
      } else {
        OnigClass inner = read_class(depth + 1);
        add(std::make_shared<const CharacterSet>(inner.negated ? ~inner.set : std::move(inner.set)));
      }
      continue;
    }
    const OnigAtom first = take("\\") ? read_escape(true) : OnigAtom{next(), nullptr};
    if (!first.character) {
      add(first.set);
      continue;
    }
    const bool range = rest().size() > 1 && rest()[0] == '-' && rest()[1] != ']' && !rest().starts_with("-&&");
    if (!range) {
      own.push_back({*first.character, *first.character});
      continue;
    }
    take("-");
    if (peek() == '[') refuse("a range that ends in a class");
    const OnigAtom last = take("\\") ? read_escape(true) : OnigAtom{next(), nullptr};
    if (!last.character || *last.character < *first.character) refuse("a range that does not end in a later character");
    own.push_back({*first.character, *last.character});
  }
  out.set = total();
  return out;
}

CharacterSet OnigInput::without_case(const CharacterSet& set, bool negated) const {
  // Whatever may have case, beyond ASCII's.
  static const CharacterSet kCased =
      (*character_property("L") | *character_property("M") | *character_property("Nl") | *character_property("So")) &
      CharacterSet(0x80, kLastCharacter);
  CharacterSet out = set;
  for (char32_t c = 'a'; c <= 'z'; ++c) {
    const char32_t capital = c - 'a' + 'A';
    if (!set.contains(c) && !set.contains(capital)) continue;
    out = out | CharacterSet(c, c) | CharacterSet(capital, capital);
    if (c == 's') out = out | CharacterSet(0x17F, 0x17F);    // ſ
    if (c == 'k') out = out | CharacterSet(0x212A, 0x212A);  // the Kelvin sign
  }
  const bool has_letters = out != set || !(set & CharacterSet('A', 'z')).empty();
  if (!(set & kCased).empty() || (negated && has_letters)) {
    refuse("letters beyond ASCII, or a complement, without regard to case");
  }
  return negated ? ~out : out;
}

}  // namespace lowrank::data
