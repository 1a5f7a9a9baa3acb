// The characters of an Oniguruma expression: escapes, and classes in brackets with what may stand in them.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "lowrank/data/tokenizer/character_set.h"

namespace lowrank::data {

/// One character, or (null without one) a set of them, which is made once for each spelling.
struct OnigAtom {
  std::optional<char32_t> character;
  std::shared_ptr<const CharacterSet> set;
};

struct OnigClass {
  CharacterSet set;
  bool negated = false;
};

/// The expression's text, read from its begin to its end.
class OnigInput {
 public:
  /// FormatError naming `where` when it is not UTF-8.
  OnigInput(std::string_view pattern, const std::string& where);

  bool at_end() const { return at_ == pattern_.size(); }
  std::size_t place() const { return at_; }
  std::string_view rest() const { return pattern_.substr(at_); }
  char32_t peek() const;
  char32_t next();
  /// Whether `text` comes next, which is then passed over.
  bool take(std::string_view text);

  /// What follows a backslash that was read.
  OnigAtom read_escape(bool in_class);
  /// What follows a [ that was read, up to its ].
  OnigClass read_class(int depth = 0);
  /// The set where case does not count. Refused where more than the case of ASCII's letters would matter.
  CharacterSet without_case(const CharacterSet& set, bool negated) const;

  static std::string text_of(char32_t c);
  /// FormatError: the expression uses `what`.
  [[noreturn]] void refuse(const std::string& what) const;

 private:
  std::shared_ptr<const CharacterSet> read_property(bool negated, bool in_class);
  std::shared_ptr<const CharacterSet> read_posix();
  /// The set that `make` gave for this spelling; as a complement where `negated`.
  std::shared_ptr<const CharacterSet> known(const std::string& spelling, bool negated,
                                            const std::function<CharacterSet()>& make);
  char32_t read_hexadecimal(std::size_t most);

  std::string_view pattern_;
  const std::string& where_;
  std::size_t at_ = 0;
  std::map<std::string, std::shared_ptr<const CharacterSet>> known_;  // an expression may name a class a thousand times
};

}  // namespace lowrank::data
