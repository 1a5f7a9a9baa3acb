// SPACE.yaml of a sweep, whose names are those of fields of training.
#include "fuzz.h"
#include "lowrank/apps/search/sweep_space.h"
#include "lowrank/recipes/spec/specs.h"

using namespace lowrank;

namespace {

struct Searched : recipes::Spec {
  recipes::AdapterSpec adapter;
  recipes::TrainSpec train;
};
void describe(recipes::Fields& table, Searched& spec) {
  recipes::describe(table, spec.adapter);
  recipes::describe(table, spec.train, {});
}

apps::Verb verb_of_fields() {
  Searched spec;
  apps::Verb verb;
  verb.name = "finetune";
  verb.options = recipes::fields_of(spec).info();
  return verb;
}

}  // namespace

LOWRANK_FUZZ_TARGET(space) {
  static const apps::Verb verb = verb_of_fields();
  (void)apps::read_space(lowrank_fuzz::file_with("space.yaml", input), verb);
}
