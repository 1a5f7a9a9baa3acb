#include "lowrank/recipes/evaluation/named_paths.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;

std::vector<NamedPaths> named_paths(const std::string& field, const std::vector<std::string>& texts) {
  std::vector<NamedPaths> sets;
  const auto set_named = [&](const std::string& name) {
    return std::find_if(sets.begin(), sets.end(), [&](const NamedPaths& set) { return set.name == name; });
  };
  for (const std::string& word : texts) {
    const std::size_t equals = word.find('=');
    std::error_code ignored;
    const bool named =
        equals != std::string::npos && equals > 0 && !fs::exists(word, ignored) && word.find('/') > equals;
    if (named) {
      const std::string name = word.substr(0, equals);
      if (equals + 1 == word.size()) {
        throw FieldError(field, fmt::format("'{}' names a set without a path; write {}=PATH", word, name));
      }
      auto it = set_named(name);
      if (it == sets.end()) it = sets.insert(sets.end(), NamedPaths{name, {}, true});
      it->paths.emplace_back(word.substr(equals + 1));
    } else {
      const fs::path path = word;
      std::string name = path.has_filename() ? path.stem().string() : path.parent_path().filename().string();
      if (name.empty() || set_named(name) != sets.end()) name = word;
      if (set_named(name) != sets.end()) throw FieldError(field, fmt::format("'{}' is given twice", word));
      sets.push_back(NamedPaths{name, {path}, false});
    }
  }
  return sets;
}

}  // namespace lowrank::recipes
