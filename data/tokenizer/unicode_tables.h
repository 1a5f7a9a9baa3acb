// What each character is to PyPI tokenizers; the data of unicode_tables.cpp, which says where it is from.
#pragma once

#include <cstdint>
#include <span>

namespace lowrank::data::unicode {

enum class Category : std::uint8_t {
  kCn,
  kLu,
  kLl,
  kLt,
  kLm,
  kLo,
  kMn,
  kMc,
  kMe,
  kNd,
  kNl,
  kNo,
  kPc,
  kPd,
  kPs,
  kPe,
  kPi,
  kPf,
  kPo,
  kSm,
  kSc,
  kSk,
  kSo,  //
  kZs,
  kZl,
  kZp,
  kCc,
  kCf,
  kCs,
  kCo
};

enum class GraphemeClass : std::uint8_t { kOther, kExtend, kPrepend, kPictograph, kControl };

// Runs: first character << 8 | value, sorted, up to the next one's first.
extern const std::span<const std::uint32_t> kCategories, kScripts, kSplitScripts, kGraphemes;
// Sets: first, last, first, last, ...
extern const std::span<const std::uint32_t> kAlphabeticToo, kLowercaseToo, kUppercaseToo, kNumericChanges,
    kPunctuationChanges, kMarkChanges, kNonspacingChanges, kControlChanges;
// first, count, stride, difference (modulo 2^32), ...
extern const std::span<const std::uint32_t> kLowerMap;
// "latn latin": of the scripts of kScripts
extern const std::span<const char* const> kScriptNames;

}  // namespace lowrank::data::unicode
