#include "lowrank/recipes/pretrain.h"

#include "lowrank/apps/training/recipe_verb.h"
#include "lowrank/apps/verbs.h"

namespace lowrank::apps {

namespace {

int pretrain(const Options& options) {
  const Console console(options);
  RunView view(options, console);
  return end_of(recipes::pretrain(training_spec_of<recipes::PretrainSpec>(options, console), view), console);
}

}  // namespace

Verb pretrain_verb() {
  Verb verb;
  verb.name = "pretrain";
  verb.summary = "Train a small model from a random start";
  verb.example = "lowrank pretrain --config config.json --tokenizer tok/ --data text/ --out base";
  verb.options = training_options_of<recipes::PretrainSpec>();
  verb.run = pretrain;
  return verb;
}

}  // namespace lowrank::apps
