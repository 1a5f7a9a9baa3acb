// SentencePiece's precompiled normalisation: a trie of texts and what they become.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lowrank/core/json.h"

namespace lowrank::data {

class Charsmap {
 public:
  /// From base64. FormatError when it cannot be one.
  explicit Charsmap(const core::JsonView& base64);
  /// As PyPI tokenizers: by grapheme clusters of less than six bytes, of which the shortest beginning that has an entry
  /// decides; else by characters. Stops when the text has grown beyond `most` bytes.
  std::string apply(std::string_view text, std::size_t most) const;

 private:
  /// What the shortest known beginning of `key` becomes.
  std::optional<std::string_view> find(std::string_view key) const;

  std::vector<std::uint32_t> units_;  // Darts' double array
  std::string texts_;                 // each ends in a NUL
};

}  // namespace lowrank::data
