// The "pre_tokenizer" of tokenizer.json: cuts a text into the pieces that are tokenised one by one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/tokenizer/pattern.h"

namespace lowrank::data {

/// A text and the pieces it is cut into so far (in order; parts of the text may belong to none).
struct Pieces {
  std::string text;
  std::vector<ByteRange> spans;
  bool at_start = true;  // whether text begins where the user's text begins (Metaspace's "first")
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(Pieces& pieces) const = 0;

  /// Every pre-tokenizer of PyPI tokenizers 0.23; nullptr for null. FormatError for others.
  static std::unique_ptr<const PreTokenizer> make(const core::JsonView& json);
};

}  // namespace lowrank::data
