// `lowrank pull`: a model or data set from the hub into the Hugging Face cache.
#include "lowrank/recipes/hub/pull.h"

#include "lowrank/apps/console/next_step.h"
#include "lowrank/apps/console/stoppable.h"
#include "lowrank/apps/training/recipe_verb.h"
#include "lowrank/apps/verbs.h"

namespace lowrank::apps {

namespace {

int pull(const Options& options) {
  const Console console(options);
  recipes::PullSpec spec;
  set_fields(recipes::fields_of(spec), options);
  spec.repo = options.positional(0);
  StoppableProgress progress(console);
  const recipes::PullResult result = recipes::pull(spec, progress);
  console.text(result.lines);
  const bool revision = spec.revision && spec.repo.find('@') == std::string::npos;
  const std::string on_hub = spec.repo + (revision ? "@" + *spec.revision : ""), name = spec.local_dir.value_or(on_hub);
  if (spec.dry_run && spec.local_dir) {
    print_next(console, {"pull", on_hub, "--local-dir", name});
  } else if (spec.dry_run) {
    print_next(console, {"pull", name});
  } else if (result.adapter) {
    print_next(console, {"generate", name, "--prompt", "Once upon a time"});
  } else if (result.model) {
    print_next(console, {"finetune", name, "--data", "corpus/", "--out", "runs/first"});
  } else {
    print_next(console, {"finetune", "MODEL", "--data", name, "--out", "runs/first"});
  }
  console.result(result.json);
  return 0;
}

}  // namespace

Verb pull_verb() {
  Verb verb;
  verb.name = "pull";
  verb.summary = "Download a model or a data set from the Hugging Face hub into its cache";
  verb.positionals = {"ORG/NAME"};
  verb.example = "lowrank pull HuggingFaceTB/SmolLM2-135M";
  verb.options = options_of<recipes::PullSpec>();
  verb.run = pull;
  return verb;
}

}  // namespace lowrank::apps
