// `lowrank runs`: the runs under a folder side by side.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/recipes/inspection/run_listing.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;
using core::Json;

/// Options that say where or how loudly a run went, not what it was.
bool of_no_interest(const std::string& option) {
  static const std::set<std::string> names = {"out",    "json",      "quiet", "log-every",
                                              "resume", "overwrite", "force", "dry-run"};
  return names.count(option) != 0;
}

/// Options whose values are not the same in all runs that have options, in the order of the first.
std::vector<std::string> differing_options(const std::vector<recipes::RunSummary>& runs) {
  std::vector<std::string> names;
  for (const recipes::RunSummary& run : runs) {
    for (const auto& [name, value] : run.options.items()) {
      if (!of_no_interest(name) && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  const auto same_everywhere = [&](const std::string& name) {
    const Json* seen = nullptr;
    for (const recipes::RunSummary& run : runs) {
      if (run.options.empty()) continue;
      static const Json absent;
      const Json& value = run.options.contains(name) ? run.options[name] : absent;
      if (seen != nullptr && *seen != value) return false;
      seen = &value;
    }
    return true;
  };
  names.erase(std::remove_if(names.begin(), names.end(), same_everywhere), names.end());
  return names;
}

std::string value_text(const Json& options, const std::string& name) {
  if (!options.contains(name) || options[name].is_null()) return "-";
  const Json& value = options[name];
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) return fmt::format("{:g}", value.get<double>());
  if (!value.is_array()) return value.dump();
  std::string text;
  for (const Json& item : value)
    text += (text.empty() ? "" : " ") + (item.is_string() ? item.get<std::string>() : item.dump());
  return text;
}

std::string before_after(const recipes::BeforeAfter& set) {
  const auto one = [](const std::optional<double>& loss) {
    return loss ? fmt::format("{:.2f}", std::exp(*loss)) : std::string("?");
  };
  return one(set.before) + " → " + one(set.after);
}

/// A column of the table: its heading, and a run's cell.
struct Column {
  std::string header;
  std::vector<std::string> cells;
};

std::vector<Column> columns_of(const std::vector<recipes::RunSummary>& runs, const fs::path& directory,
                               const std::vector<std::string>& options) {
  std::vector<Column> columns;
  const auto add = [&](const std::string& header, const auto& cell) {
    Column column{header, {}};
    for (const recipes::RunSummary& run : runs) column.cells.push_back(cell(run));
    // A column that says nothing of any run is left out.
    if (std::any_of(column.cells.begin(), column.cells.end(), [](const std::string& c) { return c != "-"; })) {
      columns.push_back(std::move(column));
    }
  };
  add("run", [&](const recipes::RunSummary& run) {
    const std::string name = run.path.lexically_relative(directory).string();
    return name.empty() || name == "." ? run.path.string() : name;
  });
  add("state", [](const recipes::RunSummary& run) { return run.state; });
  for (const std::string& name : options) {
    add(name, [&](const recipes::RunSummary& run) { return core::printable(value_text(run.options, name), 32); });
  }
  add("steps", [](const recipes::RunSummary& run) {
    if (!run.steps) return std::string("-");
    return core::format_count(*run.steps) + (run.planned_steps && *run.planned_steps != *run.steps
                                                 ? " of " + core::format_count(*run.planned_steps)
                                                 : "");
  });
  add("best loss", [](const recipes::RunSummary& run) {
    return run.best_loss ? fmt::format("{:.4f} (step {})", *run.best_loss, run.best_step.value_or(0))
                         : std::string("-");
  });
  std::vector<std::string> splits;
  for (const recipes::RunSummary& run : runs) {
    for (const recipes::BeforeAfter& set : run.sets) {
      if (std::find(splits.begin(), splits.end(), set.split) == splits.end()) splits.push_back(set.split);
    }
  }
  for (const std::string& split : splits) {
    add(split + " perplexity", [&](const recipes::RunSummary& run) {
      for (const recipes::BeforeAfter& set : run.sets) {
        if (set.split == split) return before_after(set);
      }
      return std::string("-");
    });
  }
  add("trainable", [](const recipes::RunSummary& run) {
    return run.trainable ? core::format_count(*run.trainable) : std::string("-");
  });
  add("size", [](const recipes::RunSummary& run) {
    return run.adapter_bytes ? core::format_bytes(static_cast<std::uint64_t>(*run.adapter_bytes)) : std::string("-");
  });
  add("time", [](const recipes::RunSummary& run) {
    return run.finished && run.seconds ? core::format_seconds(*run.seconds) : std::string("-");
  });
  return columns;
}

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json to_json(const recipes::RunSummary& run, const std::vector<std::string>& differing) {
  Json json = {{"path", run.path.string()}, {"finished", run.finished}, {"state", run.state}};
  json["differing_options"] = Json::object();
  for (const std::string& name : differing) {
    json["differing_options"][name] = run.options.contains(name) ? run.options[name] : Json(nullptr);
  }
  json["options"] = run.options;
  json["steps"] = or_null(run.steps);
  json["planned_steps"] = or_null(run.planned_steps);
  json["best_step"] = or_null(run.best_step);
  json["best_loss"] = or_null(run.best_loss);
  json["trainable_parameters"] = or_null(run.trainable);
  json["adapter_bytes"] = or_null(run.adapter_bytes);
  json["seconds"] = or_null(run.seconds);
  json["sets"] = Json::object();
  for (const recipes::BeforeAfter& set : run.sets) {
    json["sets"][set.split] = {{"loss_before", or_null(set.before)}, {"loss_after", or_null(set.after)}};
  }
  if (!run.problem.empty()) json["problem"] = run.problem;
  return json;
}

int runs_command(const Options& options) {
  const Console console(options);
  const fs::path directory = options.positional(0);
  const std::vector<recipes::RunSummary> runs = recipes::list_runs(directory);
  if (runs.empty() && !console.json()) {
    throw MissingError(
        fmt::format("{}: no run there; a run is a folder that `lowrank finetune --out` wrote (run.json, metrics.jsonl)",
                    directory.string()));
  }
  const std::vector<std::string> differing = differing_options(runs);
  for (const recipes::RunSummary& run : runs) {
    if (!run.problem.empty()) console.warning(run.path.string() + ": " + run.problem);
  }
  if (!console.silent()) {
    constexpr std::size_t kMostOptions = 8;  // more columns than that are wider than any terminal
    const std::vector<std::string> shown(
        differing.begin(), differing.begin() + static_cast<std::ptrdiff_t>(std::min(differing.size(), kMostOptions)));
    const std::vector<Column> columns = columns_of(runs, directory, shown);
    std::vector<std::string> header;
    std::vector<std::vector<std::string>> rows(runs.size());
    for (const Column& column : columns) {
      header.push_back(column.header);
      for (std::size_t i = 0; i < runs.size(); ++i) rows[i].push_back(column.cells[i]);
    }
    print_out(table(header, rows));
    if (differing.size() > shown.size()) {
      console.line(fmt::format("{} more options differ: {}; --json has their values", differing.size() - shown.size(),
                               fmt::join(differing.begin() + kMostOptions, differing.end(), ", ")));
    }
  }
  Json list = Json::array();
  for (const recipes::RunSummary& run : runs) list.push_back(to_json(run, differing));
  console.result({{"runs", list}});
  return 0;
}

}  // namespace

Verb runs_verb() {
  Verb verb;
  verb.name = "runs";
  verb.summary = "A table of the runs under a folder";
  verb.positionals = {"DIR"};
  verb.example = "lowrank runs experiments";
  verb.options = {option_json(), option_quiet()};
  verb.run = runs_command;
  return verb;
}

}  // namespace lowrank::apps
