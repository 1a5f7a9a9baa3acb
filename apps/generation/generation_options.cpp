#include "lowrank/apps/generation/generation_options.h"

#include <optional>

namespace lowrank::apps {

OptionSpec option_adapters() {
  return {
      "adapter",
      OptionType::kTexts,
      "[NAME=]DIR",
      nullptr,
      "Adapter",
      "A PEFT adapter directory; given several times, each goes by its name and the first acts where none is asked for",
      {}};
}

std::vector<recipes::NamedAdapter> adapters_asked_for(const Options& options) {
  return recipes::named_adapters(options.positional(0), options.texts("adapter"));
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

recipes::PromptLayout layout_asked_for(const Options& options) {
  const auto text = [&](const char* name) {
    return options.has(name) ? std::optional(options.text(name)) : std::nullopt;
  };
  return recipes::prompt_layout(text("task").value_or(""), text("from"), text("to"));
}

void append_file_options(Verb& verb) {
  verb.options.insert(
      verb.options.end(),
      {
          {"input",
           OptionType::kText,
           "FILE",
           nullptr,
           "Files",
           "Prompts: .jsonl rows with \"prompt\" or, for a conversation, \"messages\" (other keys are carried through, "
           "\"adapter\" picks one), or .txt lines",
           {}},
          {"output",
           OptionType::kText,
           "FILE",
           nullptr,
           "Files",
           "Their answers: the same rows with \"generated\" and \"finish\", in the same order",
           {}},
          option_columns(),
          {"batch-size", OptionType::kInt, "N", 16, "Files", "Prompts that are answered at the same time", {}},
          {"resume", OptionType::kFlag, "", false, "Files", "Go on after the answers that --output holds", {}},
          {"overwrite", OptionType::kFlag, "", false, "Files", "Start anew whatever --output holds", {}},
      });
}

}  // namespace lowrank::apps
