#include "lowrank/apps/training/repeated_table.h"

#include <fmt/format.h>

#include <cmath>

#include "lowrank/apps/console/signals.h"
#include "lowrank/apps/training/recipe_verb.h"
#include "lowrank/core/number.h"
#include "lowrank/core/text.h"

namespace lowrank::apps {

namespace {

using core::Json;

void print_runs(const Json& runs, const Json& summary, const Console& console) {
  if (console.silent()) return;
  std::vector<std::string> header = {"run", "training tokens", "steps"};
  for (const auto& [split, unused] : summary.items()) header.push_back(split + " loss (perplexity)");
  std::vector<std::vector<std::string>> rows;
  for (const Json& run : runs) {
    std::vector<std::string> row = {run["name"], core::format_count(run["train_tokens"]),
                                    core::format_count(run["steps"])};
    for (const auto& [split, unused] : summary.items())
      row.push_back(
          recipes::loss_change(recipes::loss_of(run["before"], split), recipes::loss_of(run["after"], split)));
    rows.push_back(std::move(row));
  }
  print_lines("\n" + table(header, rows) + "\n");
}

}  // namespace

int end_of_several(const recipes::RepeatedResult& result, const Console& console) {
  using State = recipes::RunResult::State;
  if (result.state == State::kStopped) {
    console.line(result.stopped_in.empty()
                     ? "stopped while other processes are at work; go on with the same command"
                     : fmt::format("stopped in {}; go on with the same command and --resume", result.stopped_in));
    return exit_code_of(result.reason);
  }
  if (result.state != State::kTrained) return end_of(result, console);
  const Json& json = result.run;
  print_runs(json["runs"], json["summary"], console);
  if (json.contains("learning_curve")) {
    const double last = json["learning_curve"]["last_gain"], next = json["learning_curve"]["next_gain"];
    const bool helps = json["learning_curve"]["more_helps"];
    console.line(fmt::format(
        "the last doubling of the data lowered the validation loss by {:.4f} nats; another would by about {:.4f} "
        "(perplexity {} %): {}",
        last, next, core::format_change(100 * std::expm1(-next)), helps ? "more data would help" : "more data would help little"));
  } else {
    for (const auto& [split, s] : json["summary"].items()) {
      console.line(fmt::format("{}: mean {:.4f}, standard deviation {:.4f}, {:.4f} to {:.4f} over {} runs", split,
                               s["mean"].get<double>(), s["std"].get<double>(), s["min"].get<double>(),
                               s["max"].get<double>(), s["runs"].get<int>()));
    }
  }
  console.result(json);
  return 0;
}

}  // namespace lowrank::apps
