#include "lowrank/train/run_folder.h"

#include <set>
#include <string>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/train/checkpoint.h"
#include "lowrank/train/out_place.h"

namespace lowrank::train {
namespace {

namespace fs = std::filesystem;

void delete_all(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) throw IoError(path.string() + " could not be removed: " + error.message());
}

void remove_run(const fs::path& out) {
  // run.json first: from here on it is no finished run. metrics.jsonl last: until then it is a run.
  delete_all(out / "run.json");
  const std::vector<std::string> names = files_of_run(out);
  for (const auto& [step, folder] : list_checkpoints(out)) delete_all(folder);
  discard_checkpoints_after(out, -1);
  std::error_code not_empty;
  fs::remove(out / "checkpoints", not_empty);
  for (const std::string& name : names)
    if (name != "metrics.jsonl") delete_all(out / name);
  delete_all(out / "metrics.jsonl");
  core::sync_directory(out);
}

}  // namespace

std::vector<std::string> files_of_run(const fs::path& out) {
  std::set<std::string> names = {"adapter_config.json", "adapter_model.safetensors", "README.md", "report.html",
                                 "events.out.tfevents.lowrank", "samples.jsonl", "profile.json", "run.json", "metrics.jsonl"};
  for (const auto& [step, folder] : list_checkpoints(out)) {
    for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename().string());
  }
  for (const char* own : {"manifest.json", "trainer_state.json", "optimizer.safetensors"}) names.erase(own);
  return {names.begin(), names.end()};
}

RunState run_state(const fs::path& out) {
  std::error_code none;
  if (fs::is_regular_file(out / "run.json", none)) {
    const std::string text = core::read_file(out / "run.json");
    try {
      const core::Json run = core::parse_json(text, (out / "run.json").string());
      if (run.is_object() && run.value("finished", core::Json(false)) == core::Json(true)) return RunState::kFinished;
    } catch (const FormatError&) {
      return RunState::kStarted;  // somebody's half-written file; ours are renamed into place
    }
    return RunState::kStarted;
  }
  const bool started = fs::exists(out / "metrics.jsonl", none) || !list_checkpoints(out).empty();
  return started ? RunState::kStarted : RunState::kEmpty;
}

void write_run_json(const fs::path& out, const core::Json& run) {
  core::write_file(out / "run.json", core::json_text(run, 2) + "\n");
}

RunFolder::RunFolder(const fs::path& out) : out_(out) {
  std::error_code none;
  made_ = !fs::exists(out, none);
  core::make_folder(out);
  lock_ = std::make_unique<core::DirectoryLock>(out);
}

RunFolder::~RunFolder() {
  lock_.reset();
  std::error_code not_empty;
  if (made_) fs::remove(out_, not_empty);
}

void RunFolder::remove_old_run() {
  if (run_state(out_) != RunState::kEmpty) remove_run(out_);
}

std::unique_ptr<RunFolder> open_run_folder(const fs::path& out, bool resume, bool overwrite,
                                           const std::vector<fs::path>& inputs) {
  if (resume && overwrite) throw ConfigError("`resume` and `overwrite` contradict each other: give one of them");
  check_place(out, inputs, overwrite);
  auto folder = std::make_unique<RunFolder>(out);
  const fs::path checkpoints = out / "checkpoints";
  core::refuse_link(checkpoints);
  if (fs::is_directory(checkpoints)) {
    core::sweep_temporaries(checkpoints);
    for (const auto& entry : fs::directory_iterator(checkpoints)) core::refuse_link(entry.path());
  }

  const RunState state = run_state(out);
  if (state == RunState::kEmpty || resume || overwrite) return folder;
  if (state == RunState::kFinished) {
    throw ConfigError(out.string() + " holds a finished run: choose another `out`, or `overwrite` it");
  }
  if (newest_checkpoint(out, nullptr)) {
    throw ConfigError(out.string() + " holds an unfinished run: go on with `resume`, or `overwrite` it");
  }
  return folder;
}

}  // namespace lowrank::train
