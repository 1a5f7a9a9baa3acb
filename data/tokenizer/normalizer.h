// The "normalizer" of tokenizer.json: what is done to a text before it is cut.
#pragma once

#include <memory>
#include <string>

#include "lowrank/core/json.h"

namespace lowrank::data {

/// A text on its way through the normalizers.
struct NormalizedText {
  std::string text;
  std::size_t most;      // bytes that it may grow to
  // Bytes at its beginning that became of the given text's first character, as PyPI tokenizers' alignments have them: what Metaspace's
  // "first" goes by.
  std::size_t of_first;
};

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// DataError, naming the component, when the text would grow beyond what it may.
  virtual void apply(NormalizedText& text) const = 0;

  /// Every normalizer of PyPI tokenizers 0.23; nullptr for null. FormatError for others.
  static std::unique_ptr<const Normalizer> make(const core::JsonView& json);
};

/// What a text of so many bytes may grow to: more than any normalizer of a published tokenizer makes of it, far less
/// than a file can ask for that replaces a letter by a page.
constexpr std::size_t normalized_limit(std::size_t bytes) { return 64 * bytes + (std::size_t{1} << 16); }

}  // namespace lowrank::data
