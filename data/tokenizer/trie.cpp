#include "lowrank/data/tokenizer/trie.h"

#include <algorithm>

namespace lowrank::data {

Trie::Trie(std::vector<Entry> entries) {
  std::sort(entries.begin(), entries.end());
  // The texts that a node leads to are neighbours; level by level each such stretch is parted by its next byte.
  struct Stretch {
    std::size_t begin, end;
  };
  nodes_.emplace_back();
  std::vector<Stretch> level = {{0, entries.size()}};
  std::size_t node = 0;
  for (std::size_t depth = 0; !level.empty(); ++depth) {
    std::vector<Stretch> next;
    for (Stretch s : level) {
      if (s.begin < s.end && entries[s.begin].first.size() == depth) nodes_[node].value = entries[s.begin++].second;
      nodes_[node].first_child = static_cast<std::int32_t>(nodes_.size());
      std::uint16_t children = 0;
      while (s.begin < s.end) {
        const char byte = entries[s.begin].first[depth];
        std::size_t end = s.begin + 1;
        while (end < s.end && entries[end].first[depth] == byte) ++end;
        next.push_back({s.begin, end});
        nodes_.push_back({0, kNone, 0, static_cast<std::uint8_t>(byte)});
        ++children;
        s.begin = end;
      }
      nodes_[node++].children = children;
    }
    level = std::move(next);
  }
  first_.fill(kNone);
  for (std::uint16_t i = 0; i < nodes_[0].children; ++i) {
    const std::int32_t child = nodes_[0].first_child + i;
    first_[nodes_[static_cast<std::size_t>(child)].byte] = child;
  }
}

std::int32_t Trie::step(std::int32_t node, char byte) const {
  const auto wanted = static_cast<std::uint8_t>(byte);
  if (node == kRoot) return first_[wanted];
  const Node& parent = nodes_[static_cast<std::size_t>(node)];
  const Node* begin = nodes_.data() + parent.first_child;
  const Node* end = begin + parent.children;
  // string_view compares bytes as unsigned, so the children are sorted so.
  const Node* found = std::lower_bound(begin, end, wanted, [](const Node& n, std::uint8_t b) { return n.byte < b; });
  return found != end && found->byte == wanted ? static_cast<std::int32_t>(found - nodes_.data()) : kNone;
}

}  // namespace lowrank::data
