// Where a model's chat templates stand.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/data/chat/chat_template.h"

namespace lowrank::data {

struct TemplateSource {
  std::string name;   // "default", or what the model calls it: "tool_use"
  std::string where;  // "chat_template.jinja", for messages
  std::string text;
};

/// The templates of a model's or an adapter's folder: chat_template.jinja and additional_chat_templates/NAME.jinja;
/// where there is neither, chat_template of tokenizer_config.json, else of chat_template.json, a text or a list of {"name", "template"}.
/// Empty when it has none. FormatError: a file that cannot be right.
std::vector<TemplateSource> chat_templates_in(const std::filesystem::path& folder);

/// The template to use: of the first folder that has any (the adapter's before the model's), the one called `name`;
/// without a name "tool_use" where the conversation has tools and there is one, else "default". Nothing where no folder
/// has a template. ConfigError: no template of that name; MissingError: several, and none of them is the default.
std::optional<ChatTemplate> find_chat_template(const std::vector<std::filesystem::path>& folders, bool has_tools,
                                               const std::string& name = "");

/// A template from a file of its own. MissingError / IoError / FormatError.
ChatTemplate load_chat_template(const std::filesystem::path& file);

}  // namespace lowrank::data
