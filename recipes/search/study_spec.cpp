#include "lowrank/recipes/search/study_spec.h"

#include <fmt/format.h>

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
  t.add("ranks-per-trial", &s.ranks_per_trial, "N",
        "Of the ranks that a launcher started: so many work on each trial, fold or seed together",
        {.range = {{1, 4096}}, .searched = false});
}

void check(const StudySpec& spec, const Fields& fields, const train::GradSync& sync) {
  const std::int64_t asked = spec.ranks_per_trial, there = sync.ranks();
  if (asked > 1 && there == 1)
    fields.fail("ranks-per-trial",
                fmt::format("{} ranks are to work on each trial together, and this process is alone; start {} or a multiple of "
                            "that: with mpirun, srun or torchrun, or with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in "
                            "the environment of each",
                            asked, asked));
  if (spec.storage) {
    if (asked != there)
      fields.fail("ranks-per-trial", fmt::format("is {}, and {} ranks are to work on each trial together", asked, there));
    return;
  }
  if (asked > 1) fields.fail("ranks-per-trial", "goes with `storage`");
  if (spec.study_name) fields.fail("study-name", "goes with `storage`");
  if (spec.trial_timeout) fields.fail("trial-timeout", "goes with `storage`");
}

}  // namespace lowrank::recipes
