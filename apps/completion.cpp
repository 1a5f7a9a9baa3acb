// `lowrank completion` and `lowrank man`: what the shell and man show of the verbs.
#include "lowrank/apps/console/completion.h"

#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/verbs.h"

namespace lowrank::apps {

namespace {

int completion(const Options& options) {
  print_out(completion_script(options.positional(0), verbs()));
  return 0;
}

int man(const Options&) {
  print_out(manual_page(verbs(), LOWRANK_VERSION));
  return 0;
}

}  // namespace

Verb completion_verb() {
  Verb verb;
  verb.name = "completion";
  verb.summary = "Print a script that completes verbs and options in bash, zsh or fish";
  verb.positionals = {"SHELL"};
  verb.example = "lowrank completion bash > ~/.local/share/bash-completion/completions/lowrank";
  verb.run = completion;
  return verb;
}

Verb man_verb() {
  Verb verb;
  verb.name = "man";
  verb.summary = "Print the manual page";
  verb.example = "lowrank man | man -l -";
  verb.run = man;
  return verb;
}

}  // namespace lowrank::apps
