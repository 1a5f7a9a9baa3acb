#include "lowrank/apps/training/ranks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/number.h"
#include "lowrank/train/ranks/peer.h"
#include "lowrank/train/ranks/rank_group.h"

namespace lowrank::apps {

namespace {

constexpr const char* kTimeout = "rank-timeout";
constexpr const char* kStorage = "storage";
constexpr double kTimeToSay = 10;  // seconds that ranks give each other to come and say what they refuse

std::unique_ptr<train::RankGroup> group;  // of this process, from the verb's beginning to its end
std::vector<train::Peer> started;         // all that the launcher started, once they have met: of them the group may be a part
std::size_t own_rank = 0;                 // among these
bool on_trials = false;                   // of a study, which others take up
bool awaited = false;                     // by the other ranks of a launch, which have not met
std::optional<std::int64_t> threads_apart;  // of a rank that meets no other

ErrorKind kind_of(int exit_code) {
  switch (exit_code) {
    case 2:
      return ErrorKind::kConfig;
    case 65:
      return ErrorKind::kData;
    case 66:
      return ErrorKind::kMissing;
    case 70:
      return ErrorKind::kInternal;
    default:
      return ErrorKind::kIo;
  }
}

void say_threads(const Options& options, const Console& console) {
  if (options.given("threads")) return;
  const char* said = std::getenv("OMP_NUM_THREADS");
  const int here = train::ranks_here(started, static_cast<int>(own_rank));
  const auto cores = started[own_rank].cores.size();
  console.line(fmt::format("threads: {} for each of the {} on this machine, of {} {} that it may use{}",
                           *threads_of_rank(), here == 1 ? "1 rank" : fmt::format("{} ranks", here), cores,
                           cores == 1 ? "core" : "cores",
                           said == nullptr ? "" : fmt::format("; OMP_NUM_THREADS {} is not used", said)));
}

/// All of a launch.
std::unique_ptr<train::RankGroup> meet_all(const Options& options, const train::Launch& launch, train::JoinOptions& how) {
  awaited = false;
  how.timeout = options.number(kTimeout);
  how.meet_within = std::max(how.meet_within, how.timeout);
  if (const char* within = std::getenv("LOWRANK_MEET_WITHIN")) {
    const core::Json seconds = recipes::parse_value(option_rank_timeout(), within, "LOWRANK_MEET_WITHIN in the environment");
    how.meet_within = seconds.get<double>();
  }
  std::unique_ptr<train::RankGroup> all = train::join(launch, how);
  started = all->peers();
  own_rank = static_cast<std::size_t>(launch.rank);
  return all;
}

/// Ranks of other commands would take what these send each other for something else. Paths are not compared: copies of a file may lie
/// elsewhere, and what they hold is compared when it was read.
void require_same_command(const Options& options) {
  static const std::set<std::string> own = {"threads", "quiet", "plain", "json", "follow-links", kTimeout};
  train::require_equal(*group, {{"command", options.verb().name}});
  core::Json asked = core::Json::object();
  for (const OptionSpec& option : options.verb().options) {
    const bool text = option.type == OptionType::kText || option.type == OptionType::kTexts;
    if (own.count(option.name) != 0 || (text && option.choices.empty())) continue;
    if (options.has(option.name)) asked["--" + option.name] = options.value(option.name);
  }
  train::require_equal(*group, asked);
}

/// The `size` of a launch that work together with this one.
void meet_in_groups(const Options& options, const Console& console, const train::Launch& launch, int size) {
  train::JoinOptions how;
  group = meet_all(options, launch, how);
  const train::Launch part = train::part_of(launch, size);  // now that rank 0 can say for all what is wrong
  if (part.ranks < launch.ranks) {
    const std::unique_ptr<train::RankGroup> all = std::exchange(group, nullptr);
    group = train::join_part(*all, part, how);
    all->leave();
  }
  on_trials = true;
  console.line(fmt::format("rank {} of {}, started by {}: each {} have runs of their own, on which they work together over {}",
                           launch.rank, launch.ranks, launch.text(), size, group->engine()));
  say_threads(options, console);
}

// What one rank refuses at its start, such as an option, most often all do. They meet, where the others are there, for one to say it: a
// launcher ends the others as soon as the first of them ends.
void meet_to_refuse() {
  if (!std::exchange(awaited, false)) return;
  try {
    train::JoinOptions how;
    how.meet_within = kTimeToSay;
    group = train::join(*train::read_launch(train::process_variables()), how);
  } catch (const std::exception&) {
    // Nobody is there: this rank speaks for itself.
  }
}

}  // namespace

OptionSpec option_rank_timeout() {
  OptionSpec option;
  option.name = kTimeout;
  option.type = OptionType::kNumber;
  option.value = "S";
  option.fallback = 60.0;
  option.group = "System";
  option.help = "Of several ranks: seconds without a sign of life of one after which all stop";
  option.range = {{1, 86400}};
  option.identity = recipes::Identity::kFree;
  option.searched = false;
  return option;
}

bool others_speak(const Verb& verb) {
  for (const OptionSpec& option : verb.options) {
    if (option.name != kTimeout && option.name != kStorage) continue;
    const std::optional<train::Launch> launch = train::read_launch(train::process_variables());
    awaited = launch.has_value();
    return awaited && launch->rank > 0;
  }
  return false;
}

train::GradSync* join_ranks(const Options& options, const Console& console) {
  if (group != nullptr) return group.get();
  if (options.has(kStorage) && options.given(kStorage)) {
    work_apart(options, console);
    return group.get();
  }
  const std::optional<train::Launch> launch = train::read_launch(train::process_variables());
  if (!launch) return nullptr;
  train::JoinOptions how;
  group = meet_all(options, *launch, how);
  require_same_command(options);
  console.line(fmt::format("rank {} of {} over {}, started by {}", launch->rank, launch->ranks, group->engine(),
                           launch->text()));
  say_threads(options, console);
  return group.get();
}

bool work_apart(const Options& options, const Console& console) {
  const std::optional<train::Launch> launch = train::read_launch(train::process_variables());
  if (!launch) return false;
  if (const std::int64_t size = options.integer("ranks-per-trial"); size > 1) {
    meet_in_groups(options, console, *launch, static_cast<int>(size));
    return true;
  }
  awaited = false;
  const auto cores = static_cast<std::int64_t>(train::this_process(launch->rank).cores.size());
  threads_apart = std::max<std::int64_t>(1, cores / launch->local_ranks.value_or(1));
  console.line(fmt::format("rank {} of {}, started by {}: each has runs of its own", launch->rank, launch->ranks,
                           launch->text()));
  if (!options.given("threads")) {
    console.line(fmt::format("threads: {} for each{}", *threads_apart,
                             launch->local_ranks ? ""
                                                 : "; how many ranks share this machine's cores was not said: "
                                                   "LOCAL_WORLD_SIZE, or --threads, says it"));
  }
  return true;
}

train::GradSync* met_ranks() { return group.get(); }

std::string study_in(const std::string& out) {
  const std::filesystem::path folder = std::filesystem::absolute(out);
  return "sqlite:///" + (folder / "study.db").string();
}

std::optional<std::int64_t> threads_of_rank() {
  if (started.empty()) return threads_apart;
  return train::fair_threads(started, static_cast<int>(own_rank));
}

void go_on_if_restarted(recipes::RunSpec& run, const Console& console) {
  const std::int64_t restarts = train::read_restarts(train::process_variables());
  if (restarts == 0 || run.resume || run.dry_run) return;
  run.resume = true;
  run.overwrite = false;
  console.line(
      fmt::format("the launcher has started this job again (restart {}): going on as with --resume", restarts));
}

void leave_ranks() {
  if (group == nullptr) return;
  group->leave();
  group.reset();
}

std::string after_loss() {
  if (on_trials)
    return "what it worked on is given out again, and the same command goes on with the study";
  return "the same command with --resume goes on from the last checkpoint";
}

bool fail_ranks(int exit_code, const std::string& message) {
  meet_to_refuse();
  if (group == nullptr) return false;
  const bool another_says_it = group->fail(kind_of(exit_code), message) && group->rank() > 0;
  if (another_says_it) group->outlived_by_first(kTimeToSay);
  return another_says_it;
}

void drop_ranks() { group.reset(); }

}  // namespace lowrank::apps
