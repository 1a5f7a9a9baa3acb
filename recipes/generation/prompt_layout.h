// The plain layouts that a task puts around a prompt.
#pragma once

#include <optional>
#include <string>

namespace lowrank::recipes {

/// A prompt is `before` + its text + `after`; the answer ends where the model begins another example (`stop`). Without
/// a task all three are empty.
///   translate   "Translate from FROM to TO.\nFROM: TEXT\nTO:"     stops at "\nFROM:"
///   answer      "Question: TEXT\nAnswer:"                         stops at "\nQuestion:"
///   summarize   "Text: TEXT\nSummary:"                            stops at "\nText:"
struct PromptLayout {
  std::string before, after, stop;

  std::string apply(const std::string& text) const { return before + text + after; }
  /// An answer as it is given out: in a layout without the blanks around it.
  std::string answer(const std::string& generated) const;
};

/// FieldError where `from` and `to`, the languages, do not go with the task.
PromptLayout prompt_layout(const std::string& task, const std::optional<std::string>& from,
                           const std::optional<std::string>& to);

}  // namespace lowrank::recipes
