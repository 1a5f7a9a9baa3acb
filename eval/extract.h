// The answer in a text: what a pattern finds, made comparable.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lowrank/data/regex.h"

namespace lowrank::eval {

class Extractor {
 public:
  /// PCRE2 syntax ("####\s*(-?[0-9.,]+)"). ConfigError naming what is wrong with it.
  explicit Extractor(const std::string& pattern);

  /// Of the first match: its first group, or all of it where the pattern has none. Without a match nothing. DataError
  /// when a match needs more steps than the limits allow.
  std::optional<std::string> operator()(std::string_view text) const;

 private:
  std::string pattern_;
  data::Regex regex_;
};

/// For comparing: white space around, a final full stop, and commas between digits taken away.
std::string comparable_answer(std::string_view text);

}  // namespace lowrank::eval
