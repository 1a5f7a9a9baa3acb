// Sets of characters, and tables that say of any character which sets it is in.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lowrank::data {

inline constexpr char32_t kLastCharacter = 0x10FFFF;

/// Sorted, disjoint ranges that do not touch.
class CharacterSet {
 public:
  struct Range {
    char32_t first, last;
    bool operator==(const Range&) const = default;
  };

  CharacterSet() = default;
  CharacterSet(char32_t first, char32_t last) : ranges_{{first, last}} {}
  /// Ranges in any order, overlapping or not.
  static CharacterSet of(std::vector<Range> ranges);

  const std::vector<Range>& ranges() const { return ranges_; }
  bool empty() const { return ranges_.empty(); }
  bool contains(char32_t c) const;

  CharacterSet operator|(const CharacterSet& other) const;
  CharacterSet operator&(const CharacterSet& other) const;
  CharacterSet operator^(const CharacterSet& other) const;
  CharacterSet operator~() const;  // up to U+10FFFF
  bool operator==(const CharacterSet&) const = default;

 private:
  std::vector<Range> ranges_;
};

/// A value from `first` on, up to the next run.
struct CharacterRun {
  char32_t first;
  std::uint8_t value;
};

/// From the tables of unicode_tables.h.
std::vector<CharacterRun> character_runs(std::span<const std::uint32_t> packed);

/// character -> small number, in two steps.
class CharacterMap {
 public:
  /// Sorted runs, the first from U+0000 on.
  explicit CharacterMap(std::span<const CharacterRun> runs);
  std::uint8_t operator[](char32_t c) const {
    return values_[static_cast<std::size_t>(blocks_[c >> 8]) << 8 | (c & 0xFF)];
  }

 private:
  std::vector<std::uint16_t> blocks_;  // of 256 characters -> place in values_
  std::vector<std::uint8_t> values_;
};

/// Bit i of a character's value: whether set i has it. At most eight sets.
CharacterMap membership(std::span<const CharacterSet> sets);

/// Characters that no set tells apart have one class. Classes are numbered from 0 in the order of their first
/// character.
struct CharacterClasses {
  std::vector<CharacterRun> runs;
  std::vector<std::vector<std::uint8_t>> classes_of;  // of each set, sorted
};
/// More than `limit` classes (at most 256): nothing, `runs` is empty.
CharacterClasses classes_of(std::span<const CharacterSet> sets, std::size_t limit);

}  // namespace lowrank::data
