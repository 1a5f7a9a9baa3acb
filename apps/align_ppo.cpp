#include "lowrank/apps/training/recipe_verb.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/recipes/ppo.h"

namespace lowrank::apps {

namespace {

int align_ppo(const Options& options) {
  const Console console(options);
  RunView view(options, console);
  return end_of(recipes::ppo(training_spec_of<recipes::PpoSpec>(options, console), view), console);
}

}  // namespace

Verb align_ppo_verb() {
  Verb verb;
  verb.name = "align ppo";
  verb.summary = "Learn from rewards of the model's own answers (PPO); writes a PEFT adapter";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank align ppo models/SmolLM2-135M --data prompts.jsonl --reward exec:./judge.py --out runs/ppo";
  verb.options = training_options_of<recipes::PpoSpec>();
  verb.run = align_ppo;
  return verb;
}

}  // namespace lowrank::apps
