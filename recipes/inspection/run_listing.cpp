#include "lowrank/recipes/inspection/run_listing.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/train/checkpoint.h"
#include "lowrank/train/run_folder.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;
using core::Json;
using core::JsonView;

std::optional<std::int64_t> integer(const JsonView& object, const char* key) {
  return object.has_value(key) ? std::optional(object.at(key).as_int()) : std::nullopt;
}

std::optional<double> number(const JsonView& object, const char* key) {
  return object.has_value(key) ? std::optional(object.at(key).as_double()) : std::nullopt;
}

BeforeAfter& set_of(std::vector<BeforeAfter>& sets, const std::string& split) {
  const auto it = std::find_if(sets.begin(), sets.end(), [&](const BeforeAfter& set) { return set.split == split; });
  return it != sets.end() ? *it : sets.emplace_back(BeforeAfter{split, {}, {}});
}

/// [{"split", "loss"}] into before or after.
void read_evaluation(const JsonView& list, std::optional<double> BeforeAfter::*which, std::vector<BeforeAfter>& sets) {
  if (!list.is_array()) return;
  for (std::size_t i = 0; i < list.size(); ++i) {
    set_of(sets, list.at(i).at("split").as_string()).*which = number(list.at(i), "loss");
  }
}

void read_run_json(const fs::path& file, RunSummary& run) {
  const Json json = core::read_json(file);
  const JsonView view(json, file.string());
  run.finished = view.get_bool("finished", false);
  if (view.has_value("model")) run.model = view.at("model").get_string("name", "");
  run.verb = view.get_string("verb", "");
  if (view.has_value("options")) {
    const JsonView options = view.at("options");
    if (!options.is_object()) options.fail("expected an object");
    run.options = options.raw();
  }
  if (view.has_value("totals")) {
    const JsonView totals = view.at("totals");
    run.steps = integer(totals, "steps");
    run.planned_steps = integer(totals, "planned_steps");
    run.trainable = integer(totals, "trainable_parameters");
    run.adapter_bytes = integer(totals, "adapter_bytes");
    run.seconds = number(totals, "seconds");
  }
  if (!view.has_value("result")) return;
  const JsonView result = view.at("result");
  run.best_loss = number(result, "best_loss");
  if (run.best_loss) run.best_step = integer(result, "best_step");
  run.state = result.get_string("stop", "");
  if (result.has_value("before")) read_evaluation(result.at("before"), &BeforeAfter::before, run.sets);
  if (result.has_value("after")) read_evaluation(result.at("after"), &BeforeAfter::after, run.sets);
}

/// Rows of metrics.jsonl of an unfinished run: the last step, and evaluations (the first is the start's).
void read_metrics(const fs::path& file, RunSummary& run) {
  const std::string text = core::read_file(file);
  run.sets.clear();
  std::int64_t line = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // a row that was being written
    const Json row = core::parse_json(std::string_view(text).substr(begin, end - begin),
                                      fmt::format("{} line {}", file.string(), ++line));
    begin = end + 1;
    const JsonView view(row, fmt::format("{} line {}", file.string(), line));
    const auto step = integer(view, "step");
    if (step) run.steps = std::max(run.steps.value_or(0), *step);
    if (!view.has("eval_loss")) continue;
    const auto loss = number(view, "eval_loss");
    const std::string split = view.get_string("split", "validation");
    BeforeAfter& set = set_of(run.sets, split);
    (step.value_or(0) == 0 ? set.before : set.after) = loss;
    if (split == "validation" && loss && (!run.best_loss || *loss < *run.best_loss)) {
      run.best_loss = loss;
      run.best_step = step;
    }
  }
}

RunSummary read_run(const fs::path& directory) {
  RunSummary run;
  run.path = directory;
  try {
    if (fs::is_regular_file(directory / "run.json")) read_run_json(directory / "run.json", run);
    if (run.finished) {
      if (run.state.empty()) run.state = "finished";
      return run;
    }
    run.steps.reset();
    if (fs::is_regular_file(directory / "metrics.jsonl")) read_metrics(directory / "metrics.jsonl", run);
    const auto checkpoint = train::newest_checkpoint(directory, nullptr);
    run.state = run.steps ? fmt::format("interrupted at step {}", *run.steps) : "begun";
    if (checkpoint) run.state += fmt::format(", resumes from {}", train::read_checkpoint_state(*checkpoint).step);
  } catch (const Error& error) {
    run.problem = error.what();
    if (run.state.empty()) run.state = "not readable";
  }
  return run;
}

void collect(const fs::path& directory, int depth, std::vector<RunSummary>& runs) {
  try {
    if (train::run_state(directory) != train::RunState::kEmpty) {
      runs.push_back(read_run(directory));
      return;
    }
  } catch (const Error&) {  // of this folder alone; read_run says what it is
    runs.push_back(read_run(directory));
    return;
  }
  if (depth == 0) return;
  std::vector<fs::path> below;
  std::error_code unreadable;
  for (const auto& entry : fs::directory_iterator(directory, unreadable)) {
    std::error_code ignored;
    if (entry.is_directory(ignored) && !entry.is_symlink(ignored) && entry.path().filename().string().front() != '.') {
      below.push_back(entry.path());
    }
  }
  std::sort(below.begin(), below.end());
  for (const fs::path& folder : below) collect(folder, depth - 1, runs);
}

}  // namespace

std::vector<RunSummary> list_runs(const fs::path& directory) {
  if (!fs::is_directory(directory)) throw MissingError(fmt::format("{}: there is no such folder", directory.string()));
  constexpr int kDepth = 4;  // sweeps nest by a level or two; a whole disk is not searched
  std::vector<RunSummary> runs;
  collect(directory, kDepth, runs);
  return runs;
}

}  // namespace lowrank::recipes
