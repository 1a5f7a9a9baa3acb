// `lowrank export`: an adapter in the form that other programs read.
#include "lowrank/recipes/export.h"

#include "lowrank/apps/console/stoppable.h"
#include "lowrank/apps/training/recipe_verb.h"
#include "lowrank/apps/verbs.h"

namespace lowrank::apps {

namespace {

int export_adapter(const Options& options) {
  const Console console(options);
  recipes::ExportSpec spec;
  set_fields(recipes::fields_of(spec), options);
  spec.adapter = options.positional(0);
  StoppableProgress progress(console);
  const recipes::ExportResult result = recipes::export_adapter(spec, progress);
  console.text(result.lines);
  console.result(result.json);
  return 0;
}

}  // namespace

Verb export_verb() {
  Verb verb;
  verb.name = "export";
  verb.summary = "Write an adapter as llama.cpp (GGUF), mlx-lm or PEFT reads it";
  verb.positionals = {"ADAPTER"};
  verb.example = "lowrank export runs/art --format gguf --out art.gguf";
  verb.options = options_of<recipes::ExportSpec>();
  verb.run = export_adapter;
  return verb;
}

}  // namespace lowrank::apps
