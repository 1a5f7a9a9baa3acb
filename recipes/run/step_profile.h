// `profile`: where a training step's time goes, as a table and as a Chrome trace.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/kernels/profile.h"

namespace lowrank::recipes {

/// The name of the trace in a run's folder, for chrome://tracing or ui.perfetto.dev.
inline constexpr const char* kTraceFile = "profile.json";

/// An op over the steps that were measured (all but the first, where there are several).
struct ProfileRow {
  std::string op;
  std::int64_t calls = 0;       // a step
  double seconds = 0;           // a step
  double share = 0;             // of the step
  double flops = 0, bytes = 0;  // a second; 0: not counted
};
struct StepProfile {
  std::int64_t steps = 0;
  double seconds = 0;       // a step
  double cpu_seconds = 0;   // a step, of all threads
  double page_faults = 0;   // a step
  double best_flops = 0;    // a second: multiply-adds alone, measured
  double flops_share = 0;   // of that, over the whole step
  std::vector<ProfileRow> rows;  // the longest first; what no op accounts for is the last, "other"
};
/// From the events of a run, in which "step" stands around the ops of each.
StepProfile step_profile(const std::vector<kernels::ProfileEvent>& events, double best_flops);

/// A table of lines.
std::string profile_text(const StepProfile& profile);
core::Json to_json(const StepProfile& profile);
/// In the Trace Event Format.
core::Json chrome_trace(const std::vector<kernels::ProfileEvent>& events);

}  // namespace lowrank::recipes
