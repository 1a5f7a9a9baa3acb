// The trials of a search: what comes next, what ended. In a list of this process's own, or in a study that several work on.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/recipes/search/study_spec.h"
#include "lowrank/train/grad_sync.h"
#include "lowrank/train/study/study.h"

namespace lowrank::recipes {

/// The trial was given to another process: this one was silent for too long.
struct TrialTaken : IoError {
  TrialTaken() : IoError("the trial was given to another process") {}
};

class Ledger {
 public:
  virtual ~Ledger() = default;
  /// A trial to work on, or who works on those that are left.
  virtual train::Next next(std::int64_t count) = 0;
  /// Those that ended, by number, as of the last call of next() or end().
  virtual const std::vector<train::Trial>& ended() const = 0;
  /// Those that a trial under way is measured against.
  virtual std::vector<train::Trial> rivals(const train::Claim& claim) = 0;
  virtual void report(const train::Claim&, std::int64_t /*step*/, double /*loss*/,
                      const std::vector<std::pair<std::int64_t, double>>& /*rungs*/) {}
  /// Whether the trial under way was given to another process. Cheap.
  virtual bool taken() const { return false; }
  /// Writes what a trial came to. TrialTaken.
  virtual void end(const train::Claim& claim, train::Trial trial) = 0;
  /// The trial is not ended, and may be gone on with by any process.
  virtual void give_back(const train::Claim&) {}
  /// Others work on the same trials.
  virtual bool shared() const { return false; }
};

/// Options of trial `number`, given those that ended.
using Draw = std::function<std::optional<train::Assignment>(std::int64_t number, const std::vector<train::Trial>& ended)>;

std::unique_ptr<Ledger> list_of_trials(std::vector<train::Trial> ended, Draw draw);
/// The study of `spec.storage`. `folder`: of a trial, by its number.
std::unique_ptr<Ledger> shared_study(const StudySpec& spec, const std::filesystem::path& out,
                                     const train::SearchSpace& space, const core::Json& identity,
                                     train::Study::Choose choose,
                                     std::function<std::filesystem::path(std::int64_t)> folder);

/// `own` for the ranks that work on each trial together: rank 0 has it, the others (with null) hear what it says. All call
/// next() and end() at once; what is reported on the way, and given back, is rank 0's.
std::unique_ptr<Ledger> ledger_of_ranks(train::GradSync& sync, std::unique_ptr<Ledger> own);

/// Runs `write` while no other process writes into the folder of a search, which several may share.
void write_together(const std::filesystem::path& out, const std::function<void()>& write);

}  // namespace lowrank::recipes
