#include "lowrank/apps/console/yaml_file.h"

#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"

namespace lowrank::apps {

namespace {

constexpr std::int64_t kMostNodes = 100'000;
constexpr int kDeepest = 64;

/// A file that refers to itself has no end, and a few lines that refer to each other can stand for thousands of millions of values.
void count_nodes(const YAML::Node& node, int depth, std::int64_t& count, const std::string& file) {
  if (++count > kMostNodes || depth > kDeepest)
    throw ConfigError(fmt::format("{}: what its names and lists refer to is deeper than {} levels or more than {} values; write it out "
                                  "without references (& and *)",
                                  file, kDeepest, kMostNodes));
  if (node.IsMap()) {
    for (const auto& pair : node) {
      count_nodes(pair.first, depth + 1, count, file);
      count_nodes(pair.second, depth + 1, count, file);
    }
  } else if (node.IsSequence()) {
    for (const auto& one : node) count_nodes(one, depth + 1, count, file);
  }
}

}  // namespace

void use_yaml_file(const std::filesystem::path& file, const std::string& expected,
                   const std::function<void(const YAML::Node&)>& use) {
  const std::string text = core::read_file(core::FileRef::named(file), 1 << 20);
  try {
    const YAML::Node root = YAML::Load(text);
    std::int64_t count = 0;
    count_nodes(root, 0, count, file.string());
    if (!root.IsMap()) throw ConfigError(fmt::format("{}: expected {} at the top", file.string(), expected));
    use(root);
  } catch (const YAML::Exception& error) {
    throw ConfigError(fmt::format("{} line {}: not valid YAML: {}", file.string(), error.mark.line + 1, error.msg));
  }
}

std::string place_of(const std::string& file, const YAML::Node& node) {
  return fmt::format("{} line {}", file, node.Mark().line + 1);
}

std::string scalar_of(const std::string& file, const YAML::Node& node) {
  if (!node.IsScalar()) {
    throw ConfigError(fmt::format("{}: a plain value is expected here, found {}", place_of(file, node),
                                  node.IsSequence() ? "a list"
                                  : node.IsMap()    ? "a mapping"
                                                    : "nothing"));
  }
  return node.Scalar();
}

}  // namespace lowrank::apps
