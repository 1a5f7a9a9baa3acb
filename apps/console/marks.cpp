#include "lowrank/apps/console/marks.h"

#include "lowrank/apps/console/style.h"

namespace lowrank::apps {

recipes::Marks token_marks() {
  const bool styled = stdout_is_styled();
  return {[=](const std::string& text) { return styled ? dim(text) : "⟦" + text + "⟧"; },
          [=](const std::string& id) { return styled ? dim(id) : "(" + id + ")"; },
          [](const std::string& title) { return bold(title); },
          styled ? "Dimmed: seen, but not learned." : "⟦…⟧ and (id): seen, but not learned."};
}

}  // namespace lowrank::apps
