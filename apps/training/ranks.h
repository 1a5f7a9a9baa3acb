// This process as one of several that a launcher started: it meets the others when a verb begins that works with them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lowrank/apps/console/terminal.h"
#include "lowrank/recipes/spec/specs.h"
#include "lowrank/train/grad_sync.h"

namespace lowrank::apps {

OptionSpec option_rank_timeout();

/// Of a verb that works with ranks: whether another process speaks for all. Read from the launcher's variables alone.
bool others_speak(const Verb& verb);

/// Meets the other ranks, the first time; says who started them, how they talk and what threads each has. Null: none, or
/// with --storage, where each has runs of its own; those of its group with --ranks-per-trial.
train::GradSync* join_ranks(const Options& options, const Console& console);
/// Where a launcher started several, each has trials of its own, or each group of --ranks-per-trial, which then meets: says
/// so, and what threads each has. False: no launcher.
bool work_apart(const Options& options, const Console& console);
/// Those that have met; null: none.
train::GradSync* met_ranks();
/// The study that ranks share where none is named.
std::string study_in(const std::string& out);
/// Threads that fall to this rank; nothing where it is alone.
std::optional<std::int64_t> threads_of_rank();
/// A run that its launcher has started again goes on from its last checkpoint: sets `resume`, and says so.
void go_on_if_restarted(recipes::RunSpec& run, const Console& console);

/// The verb is done.
void leave_ranks();
/// What to do when a rank was lost, to stand after what is said of it.
std::string after_loss();
/// This process ends with an error. True where another says it, and has had the time to.
bool fail_ranks(int exit_code, const std::string& message);
/// After that: this process has said what was its own to say.
void drop_ranks();

}  // namespace lowrank::apps
