// What Oniguruma and PCRE2 spell alike is passed on; every character and class of characters becomes a set of our own
// tables, so that PCRE2's (of whatever Unicode) are not asked; what has two meanings is rewritten or refused.
#include "lowrank/data/tokenizer/onig_syntax.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/onig_class.h"
#include "lowrank/data/tokenizer/properties.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data {

namespace {

struct Flags {
  bool ignore_case = false, dot_all = false, extended = false;
};

class Reader {
 public:
  Reader(std::string_view pattern, const std::string& where) : in_(pattern, where), out_{{""}, {}, {}} {}

  OnigExpression run() {
    while (!in_.at_end()) step();
    return std::move(out_);
  }

 private:
  void emit(std::string_view text) {
    out_.text.back() += text;
    last_literal_ = 0;
  }
  void emit(const CharacterSet& set) {
    if (set.empty()) return emit("(?!)");
    const auto it = std::find(out_.sets.begin(), out_.sets.end(), set);
    out_.places.push_back(static_cast<std::size_t>(it - out_.sets.begin()));
    if (it == out_.sets.end()) out_.sets.push_back(set);
    out_.text.emplace_back();
    last_literal_ = 0;
  }

  void literal(char32_t c) {
    if (!flags_.ignore_case) return emit(CharacterSet(c, c));
    const char32_t before = last_literal_;
    emit(in_.without_case(CharacterSet(c, c), false));
    const auto lower = [](char32_t x) { return x >= 'A' && x <= 'Z' ? x - 'A' + 'a' : x; };
    for (const std::string_view pair : {"ss", "ff", "fi", "fl", "st"}) {
      if (lower(before) == static_cast<char32_t>(pair[0]) && lower(c) == static_cast<char32_t>(pair[1])) {
        in_.refuse(fmt::format("'{}' without regard to case, which one character can be", pair));
      }
    }
    last_literal_ = c;
  }

  void step() {
    const char32_t c = in_.next();
    switch (c) {
      case '\\':
        return escape();
      case '[': {
        const OnigClass read = in_.read_class();
        return emit(flags_.ignore_case ? in_.without_case(read.set, read.negated)
                    : read.negated     ? ~read.set
                                       : read.set);
      }
      case '(':
        return group();
      case ')':
        if (groups_.empty()) in_.refuse("a closing parenthesis too many");
        flags_ = groups_.back();
        groups_.pop_back();
        return emit(")");
      case '.':
        return emit(flags_.dot_all ? CharacterSet(0, kLastCharacter) : ~CharacterSet('\n', '\n'));
      case '^':
        emit("(?:\\A|(?<=");
        emit(CharacterSet('\n', '\n'));
        return emit(")(?!\\z))");
      case '$':
        emit("(?:\\z|(?=");
        emit(CharacterSet('\n', '\n'));
        return emit("))");
      case '*':
      case '+':
      case '?':
        emit(std::string(1, static_cast<char>(c)));
        if (!in_.at_end() && (in_.peek() == '?' || in_.peek() == '+'))
          emit(std::string(1, static_cast<char>(in_.next())));
        return;
      case '{':
        return interval();
      case '|':
        return emit("|");
      default:
        break;
    }
    if (flags_.extended && c == '#') {
      while (!in_.at_end() && in_.next() != '\n') {
      }
      return;
    }
    if (flags_.extended && (c == ' ' || (c >= '\t' && c <= '\r'))) return;
    literal(c);
  }

  void boundary(bool is_one) {
    const CharacterSet word = word_alone();
    const auto look = [&](const char* how) {
      emit(how);
      emit(word);
      emit(")");
    };
    emit("(?:");
    look("(?<=");
    look(is_one ? "(?!" : "(?=");
    emit("|");
    look("(?<!");
    look(is_one ? "(?=" : "(?!");
    emit(")");
  }

  void escape() {
    if (in_.at_end()) in_.refuse("a backslash at its end");
    switch (in_.peek()) {
      case 'b':
      case 'B':
        return boundary(in_.next() == 'b');
      case 'A':
      case 'z':
        return emit(fmt::format("\\{}", static_cast<char>(in_.next())));
      case 'Z':
        in_.next();
        emit("(?:\\z|(?=");
        emit(CharacterSet('\n', '\n'));
        return emit("\\z))");
      case 'R':
        in_.next();
        emit("(?>");
        emit(CharacterSet('\r', '\r'));
        emit(CharacterSet('\n', '\n'));
        emit("|");
        emit(CharacterSet::of({{'\n', '\r'}, {0x85, 0x85}, {0x2028, 0x2029}}));
        return emit(")");
      default:
        break;
    }
    const OnigAtom atom = in_.read_escape(false);
    if (atom.character) return literal(*atom.character);
    // Classes named by a letter are the same in any case, but \p{Lu} and the like would not be.
    emit(flags_.ignore_case ? in_.without_case(*atom.set, false) : *atom.set);
  }

  void group() {
    const bool first = in_.place() == 1;
    if (!in_.at_end() && in_.peek() == '*') in_.refuse("a (*VERB)");
    if (!in_.take("?")) return open("(?:");
    if (in_.take("#")) {
      while (!in_.at_end() && in_.next() != ')') {
      }
      return;
    }
    for (const char* how : {":", "=", "!", ">", "<=", "<!"}) {
      if (in_.take(how)) return open(std::string("(?") + how);
    }
    if (in_.take("<")) {  // a named group; nothing can refer to it
      while (!in_.at_end() && in_.peek() != '>') in_.next();
      if (in_.at_end()) in_.refuse("a name without its >");
      in_.next();
      return open("(?:");
    }
    Flags flags = flags_;
    for (bool on = true;;) {
      if (in_.at_end()) in_.refuse("(? without its closing parenthesis");
      const char32_t c = in_.next();
      if (c == 'i') {
        flags.ignore_case = on;
      } else if (c == 'm') {
        flags.dot_all = on;  // Ruby's (?m) is PCRE2's (?s)
      } else if (c == 'x') {
        flags.extended = on;
      } else if (c == '-') {
        on = false;
      } else if (c == ':') {
        open("(?:");
        flags_ = flags;
        return;
      } else if (c == ')') {
        if (!first) in_.refuse("options in the middle, like (?i)");
        flags_ = flags;
        return;
      } else {
        in_.refuse("a group that begins with (?" + core::printable(in_.text_of(c)));
      }
    }
  }

  void open(const std::string& text) {
    if (groups_.size() >= 200) in_.refuse("groups more than 200 deep");
    groups_.push_back(flags_);
    emit(text);
  }

  // {n}, {n,}, {n,m}, {,m}; anything else in braces is itself.
  void interval() {
    const std::string_view rest = in_.rest();
    const auto end = rest.find('}');
    const std::string_view inside = rest.substr(0, end == std::string_view::npos ? 0 : end);
    if (inside.empty() || inside == "," || inside.find_first_not_of("0123456789,") != std::string_view::npos ||
        std::count(inside.begin(), inside.end(), ',') > 1) {
      return literal('{');
    }
    in_.take(rest.substr(0, end + 1));
    const bool fixed = inside.find(',') == std::string_view::npos;
    emit(fmt::format("{{{}{}}}", inside.starts_with(',') ? "0" : "", inside));
    if (in_.at_end()) return;
    if (in_.peek() == '+') in_.refuse("an interval followed by +");
    if (in_.peek() == '?' && fixed) in_.refuse("{n} followed by ?");
    if (in_.take("?")) emit("?");
  }

  OnigInput in_;
  OnigExpression out_;
  Flags flags_;
  std::vector<Flags> groups_;  // those outside of the groups that are open
  char32_t last_literal_ = 0;  // directly before, where case is ignored
};

}  // namespace

OnigExpression read_oniguruma(std::string_view pattern, const std::string& where) {
  return Reader(pattern, where).run();
}

}  // namespace lowrank::data
