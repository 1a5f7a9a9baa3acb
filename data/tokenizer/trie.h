// A set of texts that is walked byte by byte.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace lowrank::data {

class Trie {
 public:
  using Entry = std::pair<std::string_view, std::int32_t>;  // a text that is not empty, and its value, not negative
  static constexpr std::int32_t kRoot = 0, kNone = -1;

  /// In any order, each text once.
  explicit Trie(std::vector<Entry> entries);

  /// The node after one more byte, or kNone.
  std::int32_t step(std::int32_t node, char byte) const;
  /// The value of the text that ends at a node, or kNone.
  std::int32_t value(std::int32_t node) const { return nodes_[static_cast<std::size_t>(node)].value; }

 private:
  struct Node {
    std::int32_t first_child = 0, value = kNone;
    std::uint16_t children = 0;
    std::uint8_t byte = 0;
  };
  std::vector<Node> nodes_;  // the children of a node lie together, in the order of their bytes
  std::array<std::int32_t, 256> first_;
};

}  // namespace lowrank::data
