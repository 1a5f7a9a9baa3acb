// `lowrank doctor`: what a fine-tune would learn from, and what is wrong with that.
#include "lowrank/recipes/doctor/doctor.h"

#include "lowrank/apps/console/marks.h"
#include "lowrank/apps/console/style.h"
#include "lowrank/apps/training/recipe_verb.h"
#include "lowrank/apps/verbs.h"

namespace lowrank::apps {

namespace {

int doctor(const Options& options) {
  const Console console(options);
  recipes::DoctorSpec spec;
  set_fields(recipes::fields_of(spec), options);
  spec.model = options.positional(0);
  ConsoleProgress progress(console);
  const recipes::Diagnosis found = recipes::doctor(spec, token_marks(), progress);
  console.result(found.json);
  if (console.silent()) return found.healthy() ? 0 : 65;
  if (!found.shown.text.empty()) print_lines(as_flags(options.verb(), found.shown.text) + "\n");
  if (!found.histogram.empty()) print_lines(bold("lengths") + "\n" + found.histogram + "\n");
  print_lines(found.summary + "\n\n");
  for (const data::Finding& finding : found.findings) {
    print_lines(bold(finding.fatal ? "fault" : "look at") + " " + finding.check + ": " +
              as_flags(options.verb(), finding.text) + "\n");
  }
  if (found.healthy()) print_lines("nothing is wrong with it that can be seen beforehand\n");
  return found.healthy() ? 0 : 65;
}

}  // namespace

Verb doctor_verb() {
  Verb verb;
  verb.name = "doctor";
  verb.summary = "What a fine-tune would learn from, token by token, and what is wrong with it";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank doctor MODEL --data train.jsonl --val-data valid.jsonl";
  recipes::DoctorSpec spec;
  verb.options = recipe_options(recipes::fields_of(spec));
  verb.run = doctor;
  return verb;
}

}  // namespace lowrank::apps
