// A study: the trials of a search in a SQLite database, in the tables of Optuna's RDBStorage (its schema v3.2.0.a, of
// Optuna 3.2 to 5.0), so that several processes, and Python's Optuna, work on one search.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/train/sampler.h"
#include "lowrank/train/search_space.h"
#include "lowrank/train/study/database.h"

namespace lowrank::train {

/// The file of "sqlite:///study.db", or of "sqlite:////of/the/root/study.db". ConfigError for another address, and for a
/// file on a file system of a network, where SQLite's locks may not hold.
std::filesystem::path study_file(const std::string& storage);
/// The kind of file system of a network by statfs's number, "NFS"; null for others.
const char* network_file_system(std::int64_t type);

struct StudyOptions {
  std::filesystem::path file;
  std::string name;
  double silence = 60;  // seconds without a sign of life of its process after which a trial is given out again
  core::Json owner = nullptr;  // who works on it; null: this process
};

/// A trial that a process works on.
struct Claim {
  std::int64_t id = 0, number = 0;
  Assignment options;
  bool again = false;  // begun before
};

/// What next() found.
struct Next {
  std::optional<Claim> claim;       // nothing: no trial is to be had now
  std::vector<std::string> others;  // who works on trials that are not ended; empty: the study is through
};

class Study {
 public:
  /// Makes or joins the study. `identity`: {"what": value} that all who work on it must have alike; ConfigError naming
  /// what differs, or what the study is that is there.
  Study(StudyOptions options, const SearchSpace& space, const core::Json& identity);

  /// Options of a new trial: its number, the trials that ended, and the options of all that there are.
  using Choose = std::function<std::optional<Assignment>(std::int64_t number, const std::vector<Trial>& ended,
                                                         const std::vector<Assignment>& all)>;
  /// Whether somebody holds what a trial has written, by its number.
  using InUse = std::function<bool(std::int64_t number)>;
  /// A trial for this process: one whose process died, one that waits (that was given back, or put into the queue in
  /// Python), else a new one while there are fewer than `count`.
  Next next(std::int64_t count, const Choose& choose, const InUse& in_use);

  /// Those that ended, by number. Of trials of others what lies in the space.
  std::vector<Trial> ended();
  /// Ended or not: those that said at which rungs they were, but for one.
  std::vector<Trial> others(std::int64_t id);

  /// A validation loss on the way, and the rungs so far.
  void report(std::int64_t id, std::int64_t step, double loss);
  void reached(std::int64_t id, const std::vector<std::pair<std::int64_t, double>>& rungs);
  /// False: the trial is no longer this process's, and nothing was written.
  bool end(std::int64_t id, const Trial& trial);
  /// For another process, or this one later.
  void give_back(std::int64_t id);
  /// A sign of life. False: the trial is no longer this process's.
  bool alive(std::int64_t id);

  const StudyOptions& options() const { return options_; }

 private:
  /// False where another process is making them: to be asked for again.
  bool make_tables(bool waits);
  void join(const core::Json& identity);
  core::Json attribute(const char* table, std::int64_t id, const std::string& key);
  void set_attribute(const char* table, std::int64_t id, const std::string& key, const core::Json& value);
  bool is_ours(std::int64_t id);
  void take(std::int64_t id);
  void add_params(std::int64_t id, const Assignment& options);
  Assignment params(std::int64_t id);
  std::optional<Assignment> completed(std::int64_t id, std::int64_t number, const Choose& choose, std::string& problem);
  std::int64_t add_trial(std::int64_t number, const Assignment& options);
  void fail(std::int64_t id, const std::string& reason);
  std::vector<Trial> read(bool ended_alone, std::int64_t but);
  std::vector<Assignment> all_options();

  StudyOptions options_;
  const SearchSpace& space_;
  Database database_;
  std::int64_t id_ = 0;
};

/// Gives signs of life of a trial, on a thread and a connection of its own.
class Heartbeat {
 public:
  Heartbeat(const StudyOptions& options, std::int64_t id);
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;
  /// The trial has been given to another process.
  bool lost() const { return lost_; }

 private:
  void run(const StudyOptions& options, std::int64_t id);
  std::atomic<bool> lost_{false};
  bool ends_ = false;
  std::mutex mutex_;
  std::condition_variable end_;
  std::thread thread_;
};

}  // namespace lowrank::train
