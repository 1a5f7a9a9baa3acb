#include "lowrank/apps/console/next_step.h"

namespace lowrank::apps {

void print_next(const Console& console, std::initializer_list<std::string> words) {
  std::string command;
  for (const std::string& word : words) command += " " + shell_quoted(word);
  console.line("next: lowrank" + command);
}

}  // namespace lowrank::apps
