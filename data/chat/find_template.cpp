#include "lowrank/data/chat/find_template.h"

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/settings_limits.h"
#include "lowrank/core/text.h"

namespace lowrank::data {
namespace {

namespace fs = std::filesystem;

/// "chat_template" of tokenizer_config.json, or of the chat_template.json that processors of older kind write.
std::vector<TemplateSource> from_json(const fs::path& file) {
  std::vector<TemplateSource> found;
  const core::Json json = core::read_json(file, core::kSettings);
  const core::JsonView config(json, file.filename().string());
  if (!config.is_object() || !config.has_value("chat_template")) return found;
  const core::JsonView templates = config.at("chat_template");
  if (templates.is_string()) return {{"default", templates.where(), templates.as_string()}};
  if (!templates.is_array()) templates.fail("expected a template, or a list of {\"name\", \"template\"}");
  for (std::size_t i = 0; i < templates.size(); ++i) {
    const core::JsonView entry = templates.at(i);
    found.push_back({entry.at("name").as_string(), entry.at("template").where(), entry.at("template").as_string()});
  }
  return found;
}

const TemplateSource* named(const std::vector<TemplateSource>& all, const std::string& name) {
  const auto it = std::find_if(all.begin(), all.end(), [&](const TemplateSource& t) { return t.name == name; });
  return it == all.end() ? nullptr : &*it;
}

}  // namespace

std::vector<TemplateSource> chat_templates_in(const fs::path& folder) {
  std::vector<TemplateSource> found;
  if (const fs::path file = folder / "chat_template.jinja"; fs::exists(file)) {
    found.push_back({"default", "chat_template.jinja", core::read_file(file)});
  }
  if (const fs::path more = folder / "additional_chat_templates"; fs::is_directory(more)) {
    std::vector<fs::path> files;
    for (const fs::directory_entry& entry : fs::directory_iterator(more)) {
      if (entry.path().extension() == ".jinja") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) {
      found.push_back(
          {file.stem().string(), "additional_chat_templates/" + file.filename().string(), core::read_file(core::FileRef::within(folder, file))});
    }
  }
  for (const char* name : {"tokenizer_config.json", "chat_template.json"}) {
    if (found.empty() && fs::exists(folder / name)) found = from_json(folder / name);
  }
  return found;
}

std::optional<ChatTemplate> find_chat_template(const std::vector<fs::path>& folders, bool has_tools,
                                               const std::string& name) {
  for (const fs::path& folder : folders) {
    const std::vector<TemplateSource> all = chat_templates_in(folder);
    if (all.empty()) continue;
    std::vector<std::string> names;
    std::string list;
    for (const TemplateSource& t : all) {
      names.push_back(t.name);
      list += (list.empty() ? "" : ", ") + core::printable(t.name, 40);
    }
    const TemplateSource* chosen = nullptr;
    if (!name.empty()) {
      chosen = named(all, name);
      if (chosen == nullptr) {
        throw ConfigError(folder.string() + " has no chat template '" + core::printable(name, 40) + "'" +
                          core::did_you_mean(name, names) + " (it has: " + list + ")");
      }
    } else {
      if (has_tools) chosen = named(all, "tool_use");
      if (chosen == nullptr) chosen = named(all, "default");
      if (chosen == nullptr && all.size() == 1) chosen = &all.front();
      if (chosen == nullptr) {
        throw MissingError(folder.string() +
                           " has several chat templates and none is the default; choose one of: " + list);
      }
    }
    return ChatTemplate::compile(chosen->text, (folder / chosen->where).string());
  }
  return std::nullopt;
}

ChatTemplate load_chat_template(const fs::path& file) {
  return ChatTemplate::compile(core::read_file(core::FileRef::named(file)), file.string());
}

}  // namespace lowrank::data
