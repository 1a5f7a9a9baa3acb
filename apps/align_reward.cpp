#include "lowrank/apps/training/recipe_verb.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/recipes/reward.h"

namespace lowrank::apps {

namespace {

int align_reward(const Options& options) {
  const Console console(options);
  RunView view(options, console);
  return end_of(recipes::reward(training_spec_of<recipes::RewardSpec>(options, console), view), console);
}

}  // namespace

Verb align_reward_verb() {
  Verb verb;
  verb.name = "align reward";
  verb.summary = "Learn what is preferred as one number, for align ppo; writes a PEFT adapter with a score head";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank align reward models/SmolLM2-135M --data pairs.jsonl --out runs/reward";
  verb.options = training_options_of<recipes::RewardSpec>();
  verb.run = align_reward;
  return verb;
}

}  // namespace lowrank::apps
