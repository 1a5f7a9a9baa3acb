// Tokens of each example, which a plan is made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "lowrank/core/error.h"

namespace lowrank::data {

/// Copies share what they hold, and never change it: a data set has millions of examples.
class Lengths {
 public:
  Lengths() = default;
  Lengths(const std::vector<std::int64_t>& tokens)  // NOLINT: a vector is one
      : Lengths(of(tokens.size(), [&](std::size_t i) { return tokens[i]; })) {}
  Lengths(std::initializer_list<std::int64_t> tokens) : Lengths(std::vector<std::int64_t>(tokens)) {}

  /// `tokens(i)` of each of `n`.
  template <class Tokens>
  static Lengths of(std::size_t n, const Tokens& tokens) {
    std::vector<std::uint32_t> all;
    all.reserve(n);
    for (std::size_t i = 0; i < n; ++i) {
      const auto length = static_cast<std::int64_t>(tokens(i));
      if (length < 0 || length > std::numeric_limits<std::uint32_t>::max()) throw InternalError("Lengths: an example of no length");
      all.push_back(static_cast<std::uint32_t>(length));
    }
    Lengths result;
    result.tokens_ = std::make_shared<const std::vector<std::uint32_t>>(std::move(all));
    return result;
  }

  std::size_t size() const { return tokens_ == nullptr ? 0 : tokens_->size(); }
  bool empty() const { return size() == 0; }
  std::uint32_t operator[](std::size_t i) const { return (*tokens_)[i]; }
  const std::uint32_t* begin() const { return tokens_ == nullptr ? nullptr : tokens_->data(); }
  const std::uint32_t* end() const { return begin() + size(); }

  friend bool operator==(const Lengths& a, const Lengths& b) {
    return a.tokens_ == b.tokens_ || (a.tokens_ != nullptr && b.tokens_ != nullptr && *a.tokens_ == *b.tokens_);
  }

 private:
  std::shared_ptr<const std::vector<std::uint32_t>> tokens_;
};

}  // namespace lowrank::data
