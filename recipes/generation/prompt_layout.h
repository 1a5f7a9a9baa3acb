// The plain layouts that --task puts around a prompt.
#pragma once

#include <string>

#include "lowrank/apps/console/options.h"

namespace lowrank::apps {

/// A prompt is `before` + its text + `after`; the answer ends where the model begins another example (`stop`). Without
/// --task all three are empty.
///   translate   "Translate from FROM to TO.\nFROM: TEXT\nTO:"     stops at "\nFROM:"
///   answer      "Question: TEXT\nAnswer:"                         stops at "\nQuestion:"
///   summarize   "Text: TEXT\nSummary:"                            stops at "\nText:"
struct PromptLayout {
  std::string before, after, stop;

  std::string apply(const std::string& text) const { return before + text + after; }
  /// An answer as it is given out: in a layout without the blanks around it.
  std::string answer(const std::string& generated) const;
};

/// --task, --from, --to.
void append_layout_options(Verb& verb);
/// ConfigError where --from and --to do not go with --task.
PromptLayout prompt_layout(const Options& options);

}  // namespace lowrank::apps
