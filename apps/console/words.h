// What argv asks for before an option is parsed and a verb runs: which verb, help, and names that are not there. All by
// the table of verbs, so that the command answers before it loads LibTorch (main.cpp).
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/apps/console/options.h"

namespace lowrank::apps {

/// The verb that the first words of argv name, and how many words that took; null: none.
std::pair<const Verb*, std::size_t> find_verb(const std::vector<std::string>& words, const std::vector<Verb>& verbs);

/// What a verb is asked with, found out before CLI11 sees it, whose own errors know neither our names nor other tools'.
struct OptionWords {
  bool help = false, all = false;   // --help, --help all
  std::vector<std::string> greedy;  // options that take all words up to the next option
};
/// ConfigError for names that are not in the verb's table, all of them at once, unless help is asked for.
OptionWords look_at(const Verb& verb, const std::vector<std::string>& arguments);

struct Asked {
  const Verb* verb = nullptr;  // null: it is answered, with this exit code
  int exit = 0;
  std::vector<std::string> arguments = {};  // the words after the verb's
};
/// Answers what the table of verbs can: help, the version. ConfigError for a verb or an option that is not there.
Asked ask(std::vector<std::string> words, const std::vector<Verb>& verbs);

}  // namespace lowrank::apps
