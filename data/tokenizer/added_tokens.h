// Tokens that are cut out of a text before anything else looks at it: special ones, and those added to a vocabulary.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/regex.h"
#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::data {

struct AddedToken {
  std::string content;
  std::string text;  // what it is found by and decodes to: its content, normalised where `normalized`
  TokenId id = -1;
  bool special = false;
  bool left_out = false;                // when a text is decoded without special tokens
  bool normalized = false;              // matched in the normalised text, not in the raw one
  bool single_word = false;             // only between non-word characters
  bool lstrip = false, rstrip = false;  // takes the white space beside it along
  bool is_text = false;                 // where it stands in a text it is text like any other

  /// From its JSON ({"content", "special", "lstrip", ...}); the id is not read.
  static AddedToken from_json(const core::JsonView& json);
};

/// Finds the leftmost, longest of a set of texts.
class LongestMatch {
 public:
  void add(std::string_view text, std::int32_t value);
  /// The longest text that begins at `at`: its value and its end; value -1 when none does.
  std::pair<std::int32_t, std::size_t> at(std::string_view text, std::size_t at) const;

 private:
  std::vector<std::int32_t> values_{-1};                      // of the nodes; node 0 is the root
  std::unordered_map<std::uint64_t, std::int32_t> children_;  // (node, byte) -> node
  bool begins_[256] = {};
};

/// Of a text: a token, or (id -1) text between tokens.
struct SplitPart {
  ByteRange span;
  TokenId id = -1;
};

class AddedTokenSplitter {
 public:
  /// Finds `token.content`, or `as` where normalisation changes what is to be found.
  void add(const AddedToken& token, std::string_view as);
  std::vector<SplitPart> split(std::string_view text) const;

 private:
  std::vector<AddedToken> tokens_;
  LongestMatch matcher_;
};

}  // namespace lowrank::data
