// Text in Windows-1252 (and Latin-1, its printable part), told from other encodings of a byte a character.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace lowrank::data {

/// Counts what speaks against text being Windows-1252, stretch by stretch.
class Windows1252Evidence {
 public:
  void add(std::string_view bytes);
  /// Empty where nothing does, else what does: bytes that the encoding lacks, symbols inside of words (Polish, Greek,
  /// DOS code pages), long runs of such letters (Cyrillic, Greek, East Asian), bytes laid out as UTF-8 lays them, letters that no one language of Western
  /// Europe uses together (Czech, Hungarian, Turkish).
  std::string objection() const;
  std::int64_t high_bytes() const { return high_; }

 private:
  void see(unsigned char before, unsigned char byte, unsigned char after);

  unsigned char before_ = 0, last_ = 0;  // the last two bytes; `last_` is looked at when the next one is known
  std::int64_t high_ = 0, undefined_ = 0, symbols_in_words_ = 0, utf8_like_ = 0, letters_ = 0, in_runs_ = 0, run_ = 0;
  std::array<std::int64_t, 256> of_letter_{};  // by its lower case
};

/// As UTF-8. The five bytes that the encoding lacks become U+FFFD; Windows1252Evidence objects to them.
std::string from_windows1252(std::string_view bytes);

}  // namespace lowrank::data
