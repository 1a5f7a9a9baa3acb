// `lowrank push`: an adapter, a model or a data set to the hub.
#include "lowrank/recipes/hub/push.h"

#include "lowrank/apps/console/stoppable.h"
#include "lowrank/apps/training/recipe_verb.h"
#include "lowrank/apps/verbs.h"

namespace lowrank::apps {

namespace {

int push(const Options& options) {
  const Console console(options);
  recipes::PushSpec spec;
  set_fields(recipes::fields_of(spec), options);
  spec.folder = options.positional(0);
  spec.repo = options.positional(1);
  StoppableProgress progress(console);
  const recipes::PushResult result = recipes::push(spec, progress);
  console.text(result.lines);
  console.result(result.json);
  return 0;
}

}  // namespace

Verb push_verb() {
  Verb verb;
  verb.name = "push";
  verb.summary = "Upload an adapter, a model or a data set to the Hugging Face hub";
  verb.positionals = {"DIR", "ORG/NAME"};
  verb.example = "lowrank push runs/art ORG/art-lora --create --private";
  verb.options = options_of<recipes::PushSpec>();
  verb.run = push;
  return verb;
}

}  // namespace lowrank::apps
