#include "lowrank/apps/console/yaml_file.h"

#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/data/yaml_text.h"

namespace lowrank::apps {

void use_yaml_file(const std::filesystem::path& file, const std::string& expected,
                   const std::function<void(const YAML::Node&)>& use) {
  const std::string text = core::read_file(core::FileRef::named(file), 1 << 20);
  YAML::Node root;
  try {
    root = data::parse_yaml(text, file.string());
  } catch (const FormatError& error) {
    throw ConfigError(error.what());
  }
  if (!root.IsMap()) throw ConfigError(fmt::format("{}: expected {} at the top", file.string(), expected));
  try {
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
