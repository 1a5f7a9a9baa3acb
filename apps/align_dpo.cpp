#include "lowrank/apps/training/recipe_verb.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/recipes/dpo.h"

namespace lowrank::apps {

namespace {

int align_dpo(const Options& options) {
  const Console console(options);
  RunView view(options, console);
  return end_of(recipes::dpo(training_spec_of<recipes::DpoSpec>(options, console), view), console);
}

}  // namespace

Verb align_dpo_verb() {
  Verb verb;
  verb.name = "align dpo";
  verb.summary = "Learn from preference pairs (DPO); writes a PEFT adapter";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank align dpo runs/sft --data pairs.jsonl --out runs/dpo";
  verb.options = training_options_of<recipes::DpoSpec>();
  verb.run = align_dpo;
  return verb;
}

}  // namespace lowrank::apps
