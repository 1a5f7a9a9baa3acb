// The "normalizer" of tokenizer.json: what is done to a text before it is cut.
#pragma once

#include <memory>
#include <string>

#include "lowrank/core/json.h"

namespace lowrank::data {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(std::string& text) const = 0;

  /// Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase, Strip; nullptr for null. FormatError for others.
  static std::unique_ptr<const Normalizer> make(const core::JsonView& json);
};

}  // namespace lowrank::data
