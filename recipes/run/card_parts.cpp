#include "lowrank/recipes/run/card_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/visible.h"

namespace lowrank::recipes {

std::string yaml_text(std::string_view text) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_./-").find(c) != std::string_view::npos;
  };
  // A name with a slash or a dash is no number, date, truth value or null.
  const bool name = !text.empty() && (plain(text[0]) && text[0] != '-' && (text[0] < '0' || text[0] > '9')) &&
                    text.find_first_of("/-") != std::string_view::npos && std::all_of(text.begin(), text.end(), plain);
  if (name) return std::string(text);
  return core::visible_yaml(core::json_text(core::Json(text)));
}

std::string hub_name(const std::string& name) {
  std::error_code ignored;
  if (name.empty() || std::string_view("/.~").find(name.front()) != std::string_view::npos) return "";
  if (std::count(name.begin(), name.end(), '/') > 1 || std::filesystem::exists(name, ignored)) return "";
  return name;
}

std::string shown_name(const std::string& name) {
  if (const std::string hub = hub_name(name); !hub.empty()) return hub;
  std::filesystem::path path = std::filesystem::path(name).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  return path.filename().string();
}

std::string without_folders(const std::string& command) {
  std::string out;
  for (std::size_t at = 0; at < command.size();) {
    const bool begins = at == 0 || std::string_view(" '\"=").find(command[at - 1]) != std::string_view::npos;
    const std::string_view rest = std::string_view(command).substr(at);
    const bool path = rest.starts_with('/') || rest.starts_with("~/") || rest.starts_with("../");
    if (!begins || !path) {
      out += command[at++];
      continue;
    }
    // To the end of the word; in quotes, to the closing one.
    const bool quoted = at > 0 && (command[at - 1] == '\'' || command[at - 1] == '"');
    const std::size_t end = std::min(command.find(quoted ? command[at - 1] : ' ', at), command.size());
    std::string word = command.substr(at, end - at);
    while (word.size() > 1 && word.back() == '/') word.pop_back();
    out += word.substr(word.rfind('/') + 1);
    at = end;
  }
  return out;
}

std::string card_front(const std::string& base, const std::string& pipeline_tag) {
  const std::string hub = hub_name(base);
  std::string text = "---\n";
  if (!hub.empty()) text += fmt::format("base_model: {}\n", yaml_text(hub));
  text += fmt::format("library_name: peft\npipeline_tag: {}\ntags:\n", yaml_text(pipeline_tag));
  if (!hub.empty()) text += fmt::format("- {}\n", yaml_text("base_model:adapter:" + hub));
  return text + "- lora\n- lowrank\n---\n\n";
}

std::string card_text(std::string_view text) {
  std::string out;
  for (const char c : core::visible_line(text)) {
    if (c == '<') {
      out += "&lt;";
    } else {
      if (c == '|' || c == '`') out += '\\';
      out += c;
    }
  }
  return out;
}

std::string card_inline(std::string_view code) {
  const std::string text = core::visible_line(code);
  std::string fence = "`";
  while (text.find(fence) != std::string::npos) fence += '`';
  const char* const space = fence.size() > 1 ? " " : "";
  return fence + space + text + space + fence;
}

std::string card_code(std::string_view text) {
  std::string block = "    " + core::visible_lines(text);
  for (std::size_t at = 0; (at = block.find('\n', at)) != std::string::npos; at += 5) block.insert(at + 1, "    ");
  return block + "\n";
}

}  // namespace lowrank::recipes
