#include "lowrank/recipes/generation/prompt_layout.h"

#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

std::string PromptLayout::answer(const std::string& generated) const {
  if (after.empty()) return generated;
  const std::size_t begin = generated.find_first_not_of(" \t\n");
  return begin == std::string::npos ? "" : generated.substr(begin, generated.find_last_not_of(" \t\n") + 1 - begin);
}

PromptLayout prompt_layout(const std::string& task, const std::optional<std::string>& from,
                           const std::optional<std::string>& to) {
  for (const auto& [name, language] : {std::pair("from", &from), std::pair("to", &to)}) {
    if (task == "translate") {
      if (!*language) throw FieldError(name, "is needed by `task` translate, as in `from` English `to` Portuguese");
      if ((*language)->find_first_not_of(" \t\n") == std::string::npos)
        throw FieldError(name, "is blank; name a language");
    } else if (*language) {
      throw FieldError(name, "goes with `task` translate");
    }
  }
  if (task == "translate") {
    return {"Translate from " + *from + " to " + *to + ".\n" + *from + ": ", "\n" + *to + ":", "\n" + *from + ":"};
  }
  if (task == "answer") return {"Question: ", "\nAnswer:", "\nQuestion:"};
  if (task == "summarize") return {"Text: ", "\nSummary:", "\nText:"};
  return {};
}

}  // namespace lowrank::recipes
