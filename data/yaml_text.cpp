#include "lowrank/data/yaml_text.h"

#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::data {

namespace {

constexpr int kDeepest = 64;

/// Counts what a node stands for; a node that refers to itself has no end.
class NodeBudget {
 public:
  NodeBudget(const std::string& where, std::int64_t most) : where_(where), most_(most) {}

  void spend(const YAML::Node& node, int depth = 0) {
    if (++count_ > most_ || depth > kDeepest)
      throw FormatError(fmt::format("{}: what its names and lists refer to is deeper than {} levels or more than {} values; write it out "
                                    "without references (& and *)",
                                    where_, kDeepest, most_));
    if (node.IsMap()) {
      for (const auto& pair : node) {
        spend(pair.first, depth + 1);
        spend(pair.second, depth + 1);
      }
    } else if (node.IsSequence()) {
      for (const auto& one : node) spend(one, depth + 1);
    }
  }

 private:
  const std::string& where_;
  std::int64_t most_, count_ = 0;
};

}  // namespace

YAML::Node parse_yaml(const std::string& text, const std::string& where, std::int64_t most_nodes) {
  try {
    const YAML::Node root = YAML::Load(text);
    NodeBudget(where, most_nodes).spend(root);
    return root;
  } catch (const YAML::Exception& error) {
    throw FormatError(fmt::format("{} line {}: not valid YAML: {}", where, error.mark.line + 1, core::printable(error.msg, 200)));
  }
}

}  // namespace lowrank::data
