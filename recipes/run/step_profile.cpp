#include "lowrank/recipes/run/step_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>

namespace lowrank::recipes {

namespace {

bool is_step(const kernels::ProfileEvent& event) { return std::string_view(event.op) == "step"; }

}  // namespace

StepProfile step_profile(const std::vector<kernels::ProfileEvent>& events, double best_flops) {
  StepProfile profile;
  profile.best_flops = best_flops;
  std::vector<kernels::ProfileEvent> stretches;
  std::copy_if(events.begin(), events.end(), std::back_inserter(stretches), is_step);
  std::sort(stretches.begin(), stretches.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
  if (stretches.size() > 1) stretches.erase(stretches.begin());
  profile.steps = static_cast<std::int64_t>(stretches.size());
  if (stretches.empty()) return profile;
  const auto count = static_cast<double>(stretches.size());
  std::vector<std::pair<double, double>> steps;  // from, to
  for (const kernels::ProfileEvent& event : stretches) {
    steps.emplace_back(event.begin, event.begin + event.seconds);
    profile.seconds += event.seconds / count;
    profile.cpu_seconds += event.cpu_seconds / count;
    profile.page_faults += static_cast<double>(event.page_faults) / count;
  }

  std::map<std::string, ProfileRow> rows;
  double counted = 0, all_flops = 0;
  for (const kernels::ProfileEvent& event : events) {
    const auto after = std::upper_bound(steps.begin(), steps.end(), std::pair(event.begin, 1e300));
    if (is_step(event) || after == steps.begin() || event.begin > std::prev(after)->second) continue;
    ProfileRow& row = rows[event.op];
    ++row.calls;
    row.seconds += event.seconds / count;
    row.flops += event.flops / count;
    row.bytes += event.bytes / count;
    counted += event.seconds / count;
    all_flops += event.flops / count;
  }
  for (auto& [op, row] : rows) {
    row.op = op;
    row.calls = (row.calls + profile.steps / 2) / profile.steps;
    row.share = row.seconds / profile.seconds;
    row.flops /= std::max(row.seconds, 1e-12);
    row.bytes /= std::max(row.seconds, 1e-12);
    profile.rows.push_back(row);
  }
  std::sort(profile.rows.begin(), profile.rows.end(),
            [](const ProfileRow& a, const ProfileRow& b) { return a.seconds > b.seconds; });
  const double other = std::max(profile.seconds - counted, 0.0);
  profile.rows.push_back({"other", 0, other, other / profile.seconds, 0, 0});
  profile.flops_share = all_flops / profile.seconds / best_flops;
  return profile;
}

std::string profile_text(const StepProfile& profile) {
  if (profile.steps == 0) return "no step was measured";
  std::string text = fmt::format("{:<26} {:>6} {:>9} {:>7} {:>9} {:>8} {:>7}\n", "where a step goes", "calls", "ms", "share",
                                 "GFLOP/s", "of fp32", "GB/s");
  for (const ProfileRow& row : profile.rows) {
    text += fmt::format("{:<26} {:>6} {:>9.2f} {:>6.1f}%", row.op, row.calls > 0 ? std::to_string(row.calls) : "",
                        row.seconds * 1e3, 100 * row.share);
    text += row.flops > 0 ? fmt::format(" {:>9.1f} {:>7.0f}%", row.flops * 1e-9, 100 * row.flops / profile.best_flops)
                          : std::string(19, ' ');
    text += row.bytes > 0 ? fmt::format(" {:>7.1f}\n", row.bytes * 1e-9) : "\n";
  }
  return text + fmt::format("{:.0f} ms a step ({:.0f} ms of the CPU's, {:.0f} page faults) over {} step{}; {:.0f} % of "
                            "this machine's {:.0f} GFLOP/s in fp32 (vector multiply-adds alone, measured)",
                            profile.seconds * 1e3, profile.cpu_seconds * 1e3, profile.page_faults, profile.steps,
                            profile.steps == 1 ? "" : "s", 100 * profile.flops_share, profile.best_flops * 1e-9);
}

core::Json to_json(const StepProfile& profile) {
  core::Json rows = core::Json::array();
  for (const ProfileRow& row : profile.rows) {
    rows.push_back({{"op", row.op},
                    {"calls", row.calls},
                    {"seconds", row.seconds},
                    {"share", row.share},
                    {"flops_per_second", row.flops},
                    {"bytes_per_second", row.bytes}});
  }
  return {{"steps", profile.steps},
          {"seconds_per_step", profile.seconds},
          {"cpu_seconds_per_step", profile.cpu_seconds},
          {"page_faults_per_step", profile.page_faults},
          {"best_flops_per_second", profile.best_flops},
          {"share_of_best", profile.flops_share},
          {"ops", rows}};
}

core::Json chrome_trace(const std::vector<kernels::ProfileEvent>& events) {
  core::Json list = core::Json::array();
  std::map<std::uint64_t, int> threads;  // in the order of their first event
  for (const kernels::ProfileEvent& event : events) {
    const int thread = threads.try_emplace(event.thread, static_cast<int>(threads.size())).first->second;
    core::Json one = {{"name", event.op},          {"ph", "X"},
                      {"ts", event.begin * 1e6},   {"dur", event.seconds * 1e6},
                      {"pid", 0},                  {"tid", thread}};
    if (event.flops > 0) one["args"]["GFLOP/s"] = event.flops / std::max(event.seconds, 1e-12) * 1e-9;
    if (event.bytes > 0) one["args"]["bytes"] = event.bytes;
    if (event.cpu_seconds > 0) one["args"]["cpu_seconds"] = event.cpu_seconds;
    if (event.page_faults > 0) one["args"]["page_faults"] = event.page_faults;
    list.push_back(std::move(one));
  }
  return {{"traceEvents", std::move(list)}, {"displayTimeUnit", "ms"}};
}

}  // namespace lowrank::recipes
