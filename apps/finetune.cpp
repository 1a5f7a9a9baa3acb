#include "lowrank/recipes/finetune.h"

#include "lowrank/apps/training/recipe_verb.h"
#include "lowrank/apps/training/repeated_table.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/recipes/repeated_runs.h"

namespace lowrank::apps {

namespace {

int finetune(const Options& options) {
  const Console console(options);
  RunView view(options, console);
  const auto spec = spec_of<recipes::FinetuneSpec>(options);
  if (recipes::asks_for_several_runs(spec.little)) return end_of_several(finetune_repeatedly(spec, view), console);
  return end_of(recipes::finetune(spec, view), console);
}

}  // namespace

Verb finetune_verb() {
  Verb verb;
  verb.name = "finetune";
  verb.summary = "Fine-tune a model on a corpus or an instruction set; writes a PEFT adapter";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank finetune models/SmolLM2-135M --data corpus/ --out runs/art";
  verb.options = options_of<recipes::FinetuneSpec>();
  verb.run = finetune;
  return verb;
}

}  // namespace lowrank::apps
