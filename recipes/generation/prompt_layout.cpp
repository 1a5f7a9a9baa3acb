#include "lowrank/apps/generation/prompt_layout.h"

namespace lowrank::apps {

std::string PromptLayout::answer(const std::string& generated) const {
  if (after.empty()) return generated;
  const std::size_t begin = generated.find_first_not_of(" \t\n");
  return begin == std::string::npos ? "" : generated.substr(begin, generated.find_last_not_of(" \t\n") + 1 - begin);
}

void append_layout_options(Verb& verb) {
  verb.options.insert(
      verb.options.end(),
      {
          {"task",
           OptionType::kText,
           "NAME",
           nullptr,
           "Input",
           "A plain layout around each prompt, of a translation, a question, a summary",
           {"translate", "answer", "summarize"}},
          {"from", OptionType::kText, "LANGUAGE", nullptr, "Input", "Of the prompts of --task translate", {}},
          {"to", OptionType::kText, "LANGUAGE", nullptr, "Input", "Of the answers of --task translate", {}},
      });
}

PromptLayout prompt_layout(const Options& options) {
  const std::string task = options.has("task") ? options.text("task") : "";
  for (const char* language : {"from", "to"}) {
    if (task == "translate") {
      if (!options.has(language))
        options.fail(language, "is needed by --task translate, as in --from English --to Portuguese");
      if (options.text(language).find_first_not_of(" \t\n") == std::string::npos)
        options.fail(language, "is blank; name a language");
    } else if (options.given(language)) {
      options.fail(language, "goes with --task translate");
    }
  }
  if (task == "translate") {
    const std::string from = options.text("from"), to = options.text("to");
    return {"Translate from " + from + " to " + to + ".\n" + from + ": ", "\n" + to + ":", "\n" + from + ":"};
  }
  if (task == "answer") return {"Question: ", "\nAnswer:", "\nQuestion:"};
  if (task == "summarize") return {"Text: ", "\nSummary:", "\nText:"};
  return {};
}

}  // namespace lowrank::apps
