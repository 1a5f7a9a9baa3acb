// {"String": "x"} or {"Regex": "x"}, as Replace and Split have them; and the splitting of text at what matches.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/tokenizer/onig_regex.h"

namespace lowrank::data {

class Pattern {
 public:
  /// From its JSON. FormatError: neither of the two, an empty string, a regular expression that is refused.
  explicit Pattern(const core::JsonView& json);
  explicit Pattern(std::string literal) : literal_(std::move(literal)) {}
  /// Appends the matches in text[within], left to right, none overlapping another.
  void find_all(std::string_view text, ByteRange within, std::vector<ByteRange>& matches) const;

 private:
  std::string literal_;
  std::optional<OnigRegex> regex_;
};

/// The text with `content` in place of each match.
std::string replaced(std::string_view text, const std::vector<ByteRange>& matches, std::string_view content);

enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

SplitBehavior split_behavior(const core::JsonView& json);

/// Appends the non-empty pieces of `whole` cut at `matches`; with `invert`, what does not match is the delimiter.
void split(ByteRange whole, const std::vector<ByteRange>& matches, SplitBehavior behavior, bool invert,
           std::vector<ByteRange>& pieces);

}  // namespace lowrank::data
