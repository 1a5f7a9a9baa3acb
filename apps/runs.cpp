// `lowrank runs`: the runs under a folder side by side.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "lowrank/apps/console/next_step.h"
#include "lowrank/apps/console/style.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"
#include "lowrank/recipes/inspection/run_listing.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;
using core::Json;

bool of_labels(const recipes::RunSummary& run) {
  const auto task = run.options.find("task");
  return task != run.options.end() && !task->is_null();
}

/// Whether what a run made can be asked to write: no classifier and no reward model.
bool speaks(const recipes::RunSummary& run) { return run.verb != "align reward" && !of_labels(run); }

/// Whether a run's losses are means over tokens, and so comparable: not of labels, pairs or answers.
bool loss_by_token(const recipes::RunSummary& run) { return !run.verb.starts_with("align") && !of_labels(run); }

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
  if (!value.is_array()) return core::json_text(value);
  std::string text;
  for (const Json& item : value)
    text += (text.empty() ? "" : " ") + (item.is_string() ? item.get<std::string>() : core::json_text(item));
  return text;
}

/// `by_token`: the loss is one of tokens, whose exponential is a perplexity.
std::string before_after(const recipes::BeforeAfter& set, bool by_token) {
  const auto one = [&](const std::optional<double>& loss) {
    return loss ? fmt::format("{:.2f}", by_token ? std::exp(*loss) : *loss) : std::string("?");
  };
  return (by_token ? "" : "loss ") + one(set.before) + " → " + one(set.after);
}

/// A column of the table: its heading, and a run's cell.
struct Column {
  std::string header;
  std::vector<std::string> cells;
  int weight = 0;  // where the terminal is narrow, the columns of the smallest weight are left out first

  std::size_t width() const {
    std::size_t width = core::width_of(header);
    for (const std::string& cell : cells) width = std::max(width, core::width_of(cell));
    return width;
  }
};

/// Leaves columns out until the table is as narrow as `columns`; their names.
std::vector<std::string> fit(std::vector<Column>& table, std::size_t columns) {
  std::vector<std::string> left_out;
  while (table.size() > 1) {
    std::size_t total = 2 * (table.size() - 1);
    for (const Column& column : table) total += column.width();
    if (total <= columns) break;
    auto least = table.begin();
    for (auto it = table.begin(); it != table.end(); ++it)
      if (it->weight <= least->weight) least = it;
    left_out.insert(left_out.begin(), least->header);
    table.erase(least);
  }
  return left_out;
}

/// The last part of a path, which tells models apart for people.
std::string short_name(const std::string& model) {
  const std::size_t slash = model.find_last_of('/');
  return core::printable(slash == std::string::npos ? model : model.substr(slash + 1), 24);
}

/// The end of a long name, where those of runs differ.
std::string tail_of(const std::string& name, std::size_t most) {
  const std::size_t width = core::width_of(name);
  if (width <= most) return name;
  std::size_t at = name.size() - (most - 1);
  while (at < name.size() && (static_cast<unsigned char>(name[at]) & 0xC0) == 0x80) ++at;
  return "…" + name.substr(at);
}

std::vector<Column> columns_of(const std::vector<recipes::RunSummary>& runs, const fs::path& directory,
                               const std::vector<std::string>& options) {
  std::vector<Column> columns;
  const auto add = [&](const std::string& header, int weight, const auto& cell) {
    Column column{header, {}, weight};
    for (const recipes::RunSummary& run : runs) column.cells.push_back(cell(run));
    // A column that says nothing of any run is left out.
    if (std::any_of(column.cells.begin(), column.cells.end(), [](const std::string& c) { return c != "-"; })) {
      columns.push_back(std::move(column));
    }
  };
  add("run", 100, [&](const recipes::RunSummary& run) {
    const std::string name = run.path.lexically_relative(directory).string();
    return tail_of(name.empty() || name == "." ? run.path.string() : name, 40);
  });
  add("state", 70, [](const recipes::RunSummary& run) { return run.state; });
  add("model", 80, [](const recipes::RunSummary& run) { return run.model.empty() ? "-" : short_name(run.model); });
  for (const std::string& name : options) {
    add(name, 50, [&](const recipes::RunSummary& run) { return core::printable(value_text(run.options, name), 32); });
  }
  add("steps", 60, [](const recipes::RunSummary& run) {
    if (!run.steps) return std::string("-");
    return core::format_count(*run.steps) + (run.planned_steps && *run.planned_steps != *run.steps
                                                 ? " of " + core::format_count(*run.planned_steps)
                                                 : "");
  });
  add("best loss", 65, [](const recipes::RunSummary& run) {
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
    add(split + " perplexity", split == "validation" ? 90 : 55, [&](const recipes::RunSummary& run) {
      for (const recipes::BeforeAfter& set : run.sets) {
        if (set.split == split) return before_after(set, loss_by_token(run));
      }
      return std::string("-");
    });
  }
  add("trainable", 20, [](const recipes::RunSummary& run) {
    return run.trainable ? core::format_count(*run.trainable) : std::string("-");
  });
  add("size", 10, [](const recipes::RunSummary& run) {
    return run.adapter_bytes ? core::format_bytes(static_cast<std::uint64_t>(*run.adapter_bytes)) : std::string("-");
  });
  add("time", 40, [](const recipes::RunSummary& run) {
    return run.finished && run.seconds ? core::format_seconds(*run.seconds) : std::string("-");
  });
  return columns;
}

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json to_json(const recipes::RunSummary& run, const std::vector<std::string>& differing) {
  Json json = {{"path", run.path.string()}, {"model", run.model}, {"finished", run.finished}, {"state", run.state}};
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
  const fs::path directory = options.positional_count() > 0 ? options.positional(0) : ".";
  const std::vector<recipes::RunSummary> runs = recipes::list_runs(directory);
  if (runs.empty() && !console.json()) {
    throw MissingError(fmt::format(
        "{}: no run there; a run is a folder that `lowrank finetune --out` wrote (run.json, metrics.jsonl); "
        "name the folder that holds them: lowrank runs DIR",
        directory == "." ? fs::current_path().string() : directory.string()));
  }
  const std::vector<std::string> differing = differing_options(runs);
  for (const recipes::RunSummary& run : runs) {
    if (!run.problem.empty()) console.warning(run.path.string() + ": " + run.problem);
  }
  if (!console.silent()) {
    constexpr std::size_t kMostOptions = 8;  // more columns than that are wider than any terminal
    const std::vector<std::string> shown(
        differing.begin(), differing.begin() + static_cast<std::ptrdiff_t>(std::min(differing.size(), kMostOptions)));
    std::vector<Column> columns = columns_of(runs, directory, shown);
    const std::vector<std::string> left_out =
        stdout_is_terminal() ? fit(columns, stdout_columns()) : std::vector<std::string>{};
    std::vector<std::string> header;
    std::vector<std::vector<std::string>> rows(runs.size());
    for (const Column& column : columns) {
      header.push_back(column.header);
      for (std::size_t i = 0; i < runs.size(); ++i) rows[i].push_back(column.cells[i]);
    }
    print_out(table(header, rows));
    if (!left_out.empty()) {
      console.line(fmt::format("too narrow for: {}; a wider terminal or --json has them", fmt::join(left_out, ", ")));
    }
    if (differing.size() > shown.size()) {
      console.line(fmt::format("{} more options differ: {}; --json has their values", differing.size() - shown.size(),
                               fmt::join(differing.begin() + kMostOptions, differing.end(), ", ")));
    }
  }
  const recipes::RunSummary* best = nullptr;
  for (const recipes::RunSummary& run : runs) {
    if (!run.finished || !run.best_loss || !speaks(run)) continue;
    const bool better = best == nullptr || (loss_by_token(run) && (!loss_by_token(*best) || *run.best_loss < *best->best_loss));
    if (better) best = &run;
  }
  if (best != nullptr) print_next(console, {"generate", best->path.string(), "--prompt", "Once upon a time"});
  Json list = Json::array();
  for (const recipes::RunSummary& run : runs) list.push_back(to_json(run, differing));
  console.result({{"runs", list}});
  return 0;
}

}  // namespace

Verb runs_verb() {
  Verb verb;
  verb.name = "runs";
  verb.summary = "A table of the runs under a folder (this one, where none is named)";
  verb.positionals = {"[DIR]"};  // without: where one stands
  verb.example = "lowrank runs experiments";
  verb.options = {option_json(), option_quiet()};
  verb.run = runs_command;
  return verb;
}

}  // namespace lowrank::apps
