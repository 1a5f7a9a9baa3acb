#include "lowrank/recipes/search/study_spec.h"

namespace lowrank::recipes {

void describe(Fields& t, StudySpec& s) {
  constexpr auto kFree = Identity::kFree;
  t.group("Several processes on one search");
  t.add("storage", &s.storage, "sqlite:///FILE",
        "Trials, folds or seeds are shared out among the processes that name the same study, in tables of Optuna's",
        {.identity = kFree, .searched = false});
  t.add("study-name", &s.study_name, "NAME", "Which study of `storage` (default: the last part of `out`)",
        {.identity = kFree, .searched = false});
  t.add("trial-timeout", &s.trial_timeout, "S",
        "Seconds without a sign of life of its process after which a trial is given to another (default: 60)",
        {.range = {{4, 86400}}, .identity = kFree, .searched = false});
}

void check(const StudySpec& spec, const Fields& fields) {
  if (spec.storage) return;
  if (spec.study_name) fields.fail("study-name", "goes with `storage`");
  if (spec.trial_timeout) fields.fail("trial-timeout", "goes with `storage`");
}

}  // namespace lowrank::recipes
