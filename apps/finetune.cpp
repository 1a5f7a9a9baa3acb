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
  const auto spec = training_spec_of<recipes::FinetuneSpec>(options, console);
  recipes::StudySpec study;
  const recipes::Fields of_study = recipes::fields_of(study);
  set_fields(of_study, options);
  if (recipes::asks_for_several_runs(spec.little)) {
    check(study, of_study, train::or_alone(view.ranks()));
    return end_of_several(finetune_repeatedly(spec, view, study), console);
  }
  for (const recipes::FieldInfo& field : of_study.info())
    if (options.given(field.name))
      options.fail(field.name, "is for several runs that processes share out: --folds, --seeds, --learning-curve, or lowrank sweep");
  return end_of(recipes::finetune(spec, view), console);
}

}  // namespace

Verb finetune_verb() {
  Verb verb;
  verb.name = "finetune";
  verb.summary = "Fine-tune a model on a corpus or an instruction set; writes a PEFT adapter";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank finetune models/SmolLM2-135M --data corpus/ --out runs/art";
  verb.options = training_options_of<recipes::FinetuneSpec>();
  recipes::StudySpec study;
  const std::vector<OptionSpec> of_study = recipes::fields_of(study).info();
  verb.options.insert(verb.options.end(), of_study.begin(), of_study.end());
  verb.run = finetune;
  return verb;
}

}  // namespace lowrank::apps
