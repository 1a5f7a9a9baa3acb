// The rules of --out: refused where it holds a run, unless resumed or overwritten; never at or inside the inputs;
// locked.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/core/files.h"
#include "lowrank/core/json.h"

namespace lowrank::train {

enum class RunState { kEmpty, kStarted, kFinished };  // kStarted: unfinished, with or without a checkpoint
RunState run_state(const std::filesystem::path& out);

/// run.json, whole or not at all. A run that has "finished": true in it is finished.
void write_run_json(const std::filesystem::path& out, const core::Json& run);

/// The files that a run has at the top of its folder, of which some are there: what every run makes, and what its
/// checkpoints hold too (the files of a full model).
std::vector<std::string> files_of_run(const std::filesystem::path& out);

/// A folder that is made and locked. Where nothing came into it by the end, one that was made is not left behind.
class RunFolder {
 public:
  explicit RunFolder(const std::filesystem::path& out);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  /// Removes the files of the run that is there, and no others. For when the new run is about to write its first file,
  /// and no sooner: until then it may still be refused, and the old one is somebody's work.
  void remove_old_run();

 private:
  std::filesystem::path out_;
  bool made_ = false;
  std::unique_ptr<core::DirectoryLock> lock_;
};

/// Makes the folder, locks it, sweeps leftovers. ConfigError (exit 2) when it holds a finished run or a valid
/// checkpoint and neither `resume` nor `overwrite`, or lies where check_place() (out_place.h) refuses it. With
/// `overwrite` the run that is there stays until remove_old_run().
std::unique_ptr<RunFolder> open_run_folder(const std::filesystem::path& out, bool resume, bool overwrite,
                                           const std::vector<std::filesystem::path>& inputs);

}  // namespace lowrank::train
