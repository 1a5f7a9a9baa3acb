// The "decoder" of tokenizer.json: how the texts of tokens become a text again.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lowrank/core/json.h"

namespace lowrank::data {

class Decoder {
 public:
  virtual ~Decoder() = default;
  /// The tokens' texts, changed in place; joined they are the decoded text. DataError where it would grow beyond what any
  /// tokenizer needs.
  void apply(std::vector<std::string>& tokens) const;
  /// One step of that, which may make `most` bytes.
  virtual void change(std::vector<std::string>& tokens, std::size_t most) const = 0;
  /// Whether a run of <0xNN> tokens is decoded as a whole (so that its text is not known before its end).
  virtual bool joins_byte_tokens() const { return false; }

  /// Every decoder of PyPI tokenizers 0.23; for null, tokens joined with spaces. FormatError for others.
  static std::unique_ptr<const Decoder> make(const core::JsonView& json);
};

/// Whether a token is "<0xNN>", and which byte.
int byte_of_token(std::string_view token);  // -1 when it is not

}  // namespace lowrank::data
