// Chat templates, which other tools know by name, give as text or as a file.
#include <fmt/format.h>

#include "lowrank/recipes/settings/converter.h"

namespace lowrank::recipes {

bool ForeignConverter::of_template(const std::string& key, const Json& value) {
  const std::string text = in_words(value);
  if (key == "template" && is("LLaMA-Factory")) {
    leave(key, "the model's own chat template is used; give `chat-template` FILE where " + text + " is another");
    return true;
  }
  if (key == "chat_template_path" && !text.ends_with(".jinja")) {
    leave(key, "the template of the tokenizer there: give `chat-template` FILE with it");
    return true;
  }
  if (key != "chat_template" && key != "chat_template_jinja" && key != "chat_template_path") return false;
  if (text.empty() || text == "tokenizer_default" || (text == "jinja" && find("chat_template_jinja") != nullptr)) return true;
  if (text.find_first_of("{\n") != text.npos) {
    leave(key, "a template's text: write it into a file and give that as `chat-template`");
  } else if (key != "chat_template" || text.ends_with(".jinja")) {
    set("chat-template", text);
  } else {
    leave(key, "the model's own chat template is used; give `chat-template` FILE where " + text + " is another");
  }
  return true;
}

}  // namespace lowrank::recipes
