#include "lowrank/recipes/settings/yaml_json.h"

#include <cctype>
#include <charconv>
#include <cstdint>
#include <set>

#include "lowrank/core/json_text.h"
#include "lowrank/core/visible.h"

namespace lowrank::recipes {

namespace {

core::Json number_or_text(const std::string& text) {
  const char* const end = text.data() + text.size();
  if (std::int64_t n = 0; std::from_chars(text.data(), end, n).ptr == end && !text.empty()) return n;
  if (double x = 0; std::from_chars(text.data(), end, x).ptr == end && !text.empty()) return x;
  static const std::set<std::string> yes = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"};
  static const std::set<std::string> no = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"};
  if (yes.count(text) != 0) return true;
  if (no.count(text) != 0) return false;
  return text;
}

}  // namespace

core::Json json_of_yaml(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Map: {
      core::Json object = core::Json::object();
      for (const auto& pair : node) object[pair.first.Scalar()] = json_of_yaml(pair.second);
      // YAML's merge key: what these mappings say and this one does not.
      const core::Json merged = object.value("<<", core::Json());
      if (merged.is_structured()) object.erase("<<");
      for (const core::Json& one : merged.is_object() ? core::Json::array({merged}) : merged) {
        if (one.is_object()) object.insert(one.begin(), one.end());
      }
      return object;
    }
    case YAML::NodeType::Sequence: {
      core::Json list = core::Json::array();
      for (const auto& one : node) list.push_back(json_of_yaml(one));
      return list;
    }
    case YAML::NodeType::Scalar:
      return node.Tag() == "!" ? core::Json(node.Scalar()) : number_or_text(node.Scalar());  // "!": it stood in quotes
    default:
      return nullptr;
  }
}

std::string yaml_of_json(const core::Json& value) {
  if (value.is_array()) {
    std::string list;
    for (const core::Json& one : value) list += (list.empty() ? "" : ", ") + yaml_of_json(one);
    return "[" + list + "]";
  }
  if (!value.is_string()) return core::json_text(value);
  const std::string text = value.get<std::string>();
  const bool plain =
      !text.empty() && number_or_text(text).is_string() && text != "null" && text != "~" &&
      (std::isalpha(static_cast<unsigned char>(text.front())) || text.front() == '/' || text.front() == '.') &&
      text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-") == std::string::npos;
  return plain ? text : core::visible_yaml(core::json_text(core::Json(text)));
}

}  // namespace lowrank::recipes
