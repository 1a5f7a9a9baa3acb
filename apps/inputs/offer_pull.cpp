#include "lowrank/apps/inputs/offer_pull.h"

#include <fmt/format.h>
#include <unistd.h>

#include <iostream>
#include <set>
#include <string>

#include "lowrank/apps/console/signals.h"
#include "lowrank/apps/console/stoppable.h"
#include "lowrank/data/hub/cache.h"
#include "lowrank/data/hub/settings.h"
#include "lowrank/recipes/hub/pull.h"
#include "lowrank/train/ranks/launch.h"

namespace lowrank::apps {

namespace {

// Not one of several processes, which would all have to hear the answer.
bool may_be_asked(const Console& console) {
  if (train::read_launch(train::process_variables())) return false;
  return !console.silent() && ::isatty(STDIN_FILENO) == 1 && ::isatty(STDERR_FILENO) == 1;
}

bool agrees(const data::hub::Repo& repo, const data::hub::Settings& settings) {
  const char* const what = repo.type == data::hub::RepoType::kModel ? "model" : "data set";
  print_error(fmt::format("the {} {} is not on this machine; download it from {} (lowrank pull {})? [y/N] ", what, repo.id,
                          settings.endpoint, repo.spelled()));
  std::string answer;
  return std::getline(std::cin, answer) && (answer == "y" || answer == "Y" || answer == "yes");
}

void pull(const data::hub::Repo& repo, const Console& console) {
  recipes::PullSpec spec;
  spec.repo = repo.spelled();
  {
    StoppableProgress progress(console);
    console.text(recipes::pull(spec, progress).lines + "\n");
  }
  release_stop_signals();
}

}  // namespace

int run_offering_pulls(const Verb& verb, const Options& options) {
  std::set<std::string> pulled;
  while (true) {
    try {
      return verb.run(options);
    } catch (const data::hub::NotDownloaded& missing) {
      const Console console(options);
      const data::hub::Settings settings = data::hub::settings_from_environment();
      const bool again = pulled.contains(missing.repo.spelled());
      if (again || settings.offline || !may_be_asked(console) || !agrees(missing.repo, settings)) throw;
      pull(missing.repo, console);
      pulled.insert(missing.repo.spelled());
    }
  }
}

}  // namespace lowrank::apps
