#include "lowrank/recipes/settings/own_prompt.h"

#include <map>
#include <optional>

namespace lowrank::recipes {

namespace {

/// Literal text in a layout.
std::string escaped_layout(const std::string& text) {
  std::string result;
  for (const char c : text) result += c == '{' || c == '}' || c == '\\' ? std::string(2, c) : std::string(1, c);
  return result;
}

/// A text of Python's str.format with these fields put in; nothing where it has another.
std::optional<std::string> filled(const std::string& format, const std::map<std::string, std::string>& fields) {
  std::string result;
  for (std::size_t i = 0; i < format.size();) {
    if (format.compare(i, 2, "{{") == 0 || format.compare(i, 2, "}}") == 0) {
      result += format.substr(i, 2);  // the same in a layout
      i += 2;
    } else if (format[i] == '{') {
      const std::size_t end = format.find('}', i);
      const auto field = end == format.npos ? fields.end() : fields.find(format.substr(i + 1, end - i - 1));
      if (field == fields.end()) return std::nullopt;
      result += field->second;
      i = end + 1;
    } else {
      result += format[i] == '\\' ? "\\\\" : std::string(1, format[i]);
      ++i;
    }
  }
  return result;
}

bool is_column(const std::string& name) { return !name.empty() && name.find_first_of("{}") == name.npos && name.front() != ' ' && name.back() != ' '; }

}  // namespace

OwnPrompt layout_of_prompt(const core::Json& type) {
  const auto text = [&](const char* key) {
    const auto it = type.find(key);
    return it != type.end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  const std::string format = text("format"), question = text("field_instruction"), input = text("field_input"), answer = text("field_output");
  const std::string bare = text("no_input_format").empty() ? format : text("no_input_format");
  if (!text("field_system").empty()) return {"", "rows may or may not have a system prompt there, which no `layout` says"};
  if (!input.empty() && format != bare) return {"", "rows with an input and rows without have forms of their own there, which no `layout` says"};
  std::optional<std::string> prompt = filled(bare, {{"instruction", "{" + question + "}"}});
  if (!text("system_prompt").empty() && !text("system_format").empty()) {
    const auto system = filled(text("system_format"), {{"system", escaped_layout(text("system_prompt"))}});
    prompt = system && prompt ? std::optional(*system + *prompt) : std::nullopt;
  }
  const bool exact = is_column(question) && is_column(answer) && prompt && !prompt->empty() && prompt->find("[[") == prompt->npos && prompt->back() != '[';
  if (!exact) return {"", "no `layout` says it exactly"};
  return {*prompt + "[[{" + answer + "}]]", ""};
}

}  // namespace lowrank::recipes
