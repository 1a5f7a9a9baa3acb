#include "lowrank/train/study/study.h"

#include <fmt/format.h>
#include <sys/vfs.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"
#include "lowrank/train/study/distributions.h"
#include "lowrank/train/study/owner.h"
#include "lowrank/train/study/schema.h"

namespace lowrank::train {
namespace {

namespace fs = std::filesystem;
using core::Json;

constexpr int kTries = 50;  // a tenth of a second apart, for another process to make its tables
constexpr const char* kOwner = "lowrank:owner";
constexpr const char* kIdentity = "lowrank:identity";
constexpr const char* kSteps = "lowrank:steps";
constexpr const char* kRungs = "lowrank:rungs";
constexpr const char* kReason = "lowrank:reason";
constexpr const char* kNow = "strftime('%Y-%m-%d %H:%M:%f000', 'now', 'localtime')";  // as Optuna has times of trials

Json parsed(const Json& text, const std::string& where) {
  if (!text.is_string()) return nullptr;
  return core::parse_json(text.get_ref<const std::string&>(), where);
}

/// Of a trial that RUNS: gives its sign of life.
bool give_sign(Database& database, std::int64_t id, const Json& owner) {
  const auto found = database.run(
      "SELECT a.value_json FROM trials t JOIN trial_user_attributes a ON a.trial_id = t.trial_id AND a.\"key\" = ? "
      "WHERE t.trial_id = ? AND t.state = 'RUNNING'",
      {kOwner, id});
  if (found.empty() || parsed(found[0][0], "the owner of a trial") != owner) return false;
  database.run(
      "INSERT INTO trial_heartbeats (trial_id, heartbeat) VALUES (?, CURRENT_TIMESTAMP) "
      "ON CONFLICT (trial_id) DO UPDATE SET heartbeat = CURRENT_TIMESTAMP",
      {id});
  return true;
}

StudyOptions with_owner(StudyOptions options) {
  if (options.owner.is_null()) options.owner = this_owner();
  return options;
}

}  // namespace

const char* network_file_system(std::int64_t type) {
  switch (type & 0xFFFFFFFF) {
    case 0x6969:
      return "NFS";
    case 0x517B:
    case 0xFF534D42:
    case 0xFE534D42:
      return "SMB";
    case 0x5346414F:
    case 0x6B414653:
      return "AFS";
    case 0x73757245:
      return "Coda";
    default:
      return nullptr;
  }
}

fs::path study_file(const std::string& storage) {
  const std::string scheme = "sqlite:///";
  if (!storage.starts_with(scheme) || storage.size() == scheme.size())
    throw ConfigError("`storage`: expected sqlite:///FILE (sqlite:////FILE from the root on), found '" +
                      core::printable(storage) + "'");
  const fs::path file = storage.substr(scheme.size());
  const fs::path folder = file.has_parent_path() ? file.parent_path() : ".";
  struct statfs status {};
  if (::statfs(folder.c_str(), &status) != 0)
    throw ConfigError(fmt::format("`storage`: there is no folder '{}'", core::printable(folder.string(), 200)));
  if (const char* const kind = network_file_system(status.f_type))
    throw ConfigError(
        fmt::format("`storage`: {} lies on {}, where locks of SQLite may not hold, and two processes would spoil the "
                    "study; name a file on a disk of the machine on which the processes are",
                    core::printable(file.string(), 200), kind));
  return file;
}

Study::Study(StudyOptions options, const SearchSpace& space, const Json& identity)
    : options_(with_owner(std::move(options))), space_(space), database_(options_.file) {
  bool joined = false;
  for (int tried = 1; !joined; ++tried) {
    database_.alone([&] {
      if (!make_tables(/*waits=*/tried < kTries)) return;
      join(identity);
      joined = true;
    });
    if (!joined) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

bool Study::make_tables(bool waits) {
  const auto tables = database_.run("SELECT name FROM sqlite_master WHERE type = 'table'");
  if (tables.empty()) {
    for (const char* const statement : kTables) database_.run(statement);
    database_.run("INSERT INTO version_info VALUES (1, ?, ?)", {kSchemaNumber, "3.2.0"});
    database_.run("INSERT INTO alembic_version VALUES (?)", {kSchema});
    return true;
  }
  const bool optuna = std::any_of(tables.begin(), tables.end(), [](const auto& row) { return row[0] == "alembic_version"; });
  const auto version = optuna ? database_.run("SELECT version_num FROM alembic_version") : std::vector<Database::Row>{};
  if (!version.empty() && version[0][0] == kSchema) return true;
  // Python's Optuna makes one table after another, and says their version last.
  const bool begun = std::any_of(tables.begin(), tables.end(), [](const auto& row) { return row[0] == "studies" || row[0] == "alembic_version"; });
  if (waits && begun && version.empty()) return false;
  throw ConfigError(fmt::format(
      "{}: expected tables of Optuna's schema {} (Optuna 3.2 to 5.0), found {}; name another file, or, for a study of "
      "an older Optuna, run `optuna storage upgrade`",
      options_.file.string(), kSchema,
      version.empty() ? "tables of something else" : core::printable(core::json_text(version[0][0]), 60)));
}

void Study::join(const Json& identity) {
  const auto found = database_.run("SELECT study_id FROM studies WHERE study_name = ?", {options_.name});
  if (found.empty()) {
    database_.run("INSERT INTO studies (study_name) VALUES (?)", {options_.name});
    id_ = database_.last_id();
    database_.run("INSERT INTO study_directions (direction, study_id, objective) VALUES ('MINIMIZE', ?, 0)", {id_});
    set_attribute("study", id_, kIdentity, identity);
    return;
  }
  id_ = found[0][0].get<std::int64_t>();
  const auto directions = database_.run("SELECT direction FROM study_directions WHERE study_id = ?", {id_});
  if (directions.size() != 1 || directions[0][0] == "MAXIMIZE")
    throw ConfigError(fmt::format("{}: the study '{}' does not look for the lowest of one value; name another study",
                                  options_.file.string(), core::printable(options_.name)));
  const Json before = attribute("study", id_, kIdentity);
  if (before.is_null()) set_attribute("study", id_, kIdentity, identity);  // it was made in Python
  if (!before.is_object()) return;
  for (const auto& [key, value] : identity.items()) {
    if (before.contains(key) && before[key] == value) continue;
    throw ConfigError(fmt::format(
        "the study '{}' in {} is of a search with another {}: {} there, {} here; start all its processes alike, or "
        "name another study",
        core::printable(options_.name), options_.file.string(), key, before.contains(key) ? core::json_text(before[key]) : "none",
        core::json_text(value)));
  }
}

Json Study::attribute(const char* table, std::int64_t id, const std::string& key) {
  const auto found = database_.run(
      fmt::format("SELECT value_json FROM {0}_user_attributes WHERE {0}_id = ? AND \"key\" = ?", table), {id, key});
  return found.empty() ? Json(nullptr) : parsed(found[0][0], options_.file.string() + ": " + key);
}

void Study::set_attribute(const char* table, std::int64_t id, const std::string& key, const Json& value) {
  database_.run(fmt::format("INSERT INTO {0}_user_attributes ({0}_id, \"key\", value_json) VALUES (?, ?, ?) "
                            "ON CONFLICT ({0}_id, \"key\") DO UPDATE SET value_json = excluded.value_json",
                            table),
                {id, key, core::json_text(value)});
}

bool Study::is_ours(std::int64_t id) {
  const auto state = database_.run("SELECT state FROM trials WHERE trial_id = ?", {id});
  return !state.empty() && state[0][0] == "RUNNING" && attribute("trial", id, kOwner) == options_.owner;
}

void Study::take(std::int64_t id) {
  database_.run(fmt::format("UPDATE trials SET state = 'RUNNING', datetime_start = coalesce(datetime_start, {}) "
                            "WHERE trial_id = ?",
                            kNow),
                {id});
  set_attribute("trial", id, kOwner, options_.owner);
  give_sign(database_, id, options_.owner);
}

void Study::add_params(std::int64_t id, const Assignment& options) {
  for (const Dimension& d : space_.dimensions()) {
    if (const Json* const value = value_of(options, d.name))
      database_.run(
          "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) VALUES (?, ?, ?, ?) "
          "ON CONFLICT (trial_id, param_name) DO NOTHING",
          {id, d.name, number_of(d, *value), core::json_text(distribution_of(d))});
  }
}

Assignment Study::params(std::int64_t id) {
  std::map<std::string, std::pair<Json, Json>> found;
  for (const auto& row :
       database_.run("SELECT param_name, param_value, distribution_json FROM trial_params WHERE trial_id = ?", {id}))
    found[row[0].get<std::string>()] = {row[1], parsed(row[2], options_.file.string() + ": a distribution")};
  Assignment options;
  for (const Dimension& d : space_.dimensions()) {
    const auto param = found.find(d.name);
    if (param == found.end() || !param->second.first.is_number()) continue;
    if (auto value = value_of_number(d, param->second.first.get<double>(), param->second.second))
      options.emplace_back(d.name, std::move(*value));
  }
  return options;
}

/// What a trial that waits is to run with: its parameters, those that were asked for in Python, and for the others what
/// would have been drawn. Nothing, and why, where what was asked for is not in the space.
std::optional<Assignment> Study::completed(std::int64_t id, std::int64_t number, const Choose& choose,
                                           std::string& problem) {
  const Assignment own = params(id);
  const auto found = database_.run(
      "SELECT value_json FROM trial_system_attributes WHERE trial_id = ? AND \"key\" = 'fixed_params'", {id});
  const Json asked = found.empty() ? Json(nullptr) : parsed(found[0][0], options_.file.string() + ": fixed_params");
  const std::optional<Assignment> drawn = choose(number, read(true, 0), all_options());
  Assignment options;
  for (const Dimension& d : space_.dimensions()) {
    if (!SearchSpace::active(d, options)) continue;
    if (const Json* const set = value_of(own, d.name)) {
      options.emplace_back(d.name, *set);
    } else if (asked.is_object() && asked.contains(d.name)) {
      auto value = value_of_words(d, asked[d.name]);
      if (!value) {
        problem = fmt::format("its {} was put into the queue as {}, which is not in the space", d.name,
                              core::printable(core::json_text(asked[d.name])));
        return std::nullopt;
      }
      options.emplace_back(d.name, std::move(*value));
    } else {
      const Json* const value_drawn = drawn ? value_of(*drawn, d.name) : nullptr;
      options.emplace_back(d.name, value_drawn != nullptr ? *value_drawn : SearchSpace::value_at(d, 0.5));
    }
  }
  return options;
}

std::int64_t Study::add_trial(std::int64_t number, const Assignment& options) {
  database_.run(fmt::format("INSERT INTO trials (number, study_id, state, datetime_start) VALUES (?, ?, 'RUNNING', {})",
                            kNow),
                {number, id_});
  const std::int64_t id = database_.last_id();
  add_params(id, options);
  return id;
}

void Study::fail(std::int64_t id, const std::string& reason) {
  set_attribute("trial", id, kReason, reason);
  database_.run(fmt::format("UPDATE trials SET state = 'FAIL', datetime_complete = {} WHERE trial_id = ?", kNow), {id});
}

std::vector<Assignment> Study::all_options() {
  std::vector<Assignment> all;
  for (const auto& row : database_.run("SELECT trial_id FROM trials WHERE study_id = ?", {id_}))
    all.push_back(params(row[0].get<std::int64_t>()));
  return all;
}

Next Study::next(std::int64_t count, const Choose& choose, const InUse& in_use) {
  Next next;
  database_.alone([&] {
    for (const auto& row : database_.run(
             "SELECT t.trial_id, t.number, a.value_json, h.heartbeat IS NULL OR "
             "h.heartbeat < datetime('now', '-' || ? || ' seconds') FROM trials t "
             "JOIN trial_user_attributes a ON a.trial_id = t.trial_id AND a.\"key\" = ? "
             "LEFT JOIN trial_heartbeats h ON h.trial_id = t.trial_id "
             "WHERE t.study_id = ? AND t.state = 'RUNNING' ORDER BY t.number",
             {options_.silence, kOwner, id_})) {
      const auto id = row[0].get<std::int64_t>(), number = row[1].get<std::int64_t>();
      const Json owner = parsed(row[2], options_.file.string() + ": the owner of a trial");
      const bool silent = row[3] == 1;
      const bool dead = owner_lives(owner) == std::optional(false);
      if ((!dead && !silent) || in_use(number)) {
        next.others.push_back(fmt::format("trial {} ({}{})", number, owner_name(owner),
                                          silent ? ", which gives no sign of life" : ""));
        continue;
      }
      take(id);
      next.claim = Claim{id, number, params(id), true};
      return;
    }
    for (const auto& row : database_.run(
             "SELECT trial_id, number FROM trials WHERE study_id = ? AND state = 'WAITING' ORDER BY number", {id_})) {
      const auto id = row[0].get<std::int64_t>(), number = row[1].get<std::int64_t>();
      std::string problem;
      const std::optional<Assignment> options = completed(id, number, choose, problem);
      if (!options) {
        fail(id, problem);
        continue;
      }
      add_params(id, *options);
      const bool again = !attribute("trial", id, kOwner).is_null();
      take(id);
      next.claim = Claim{id, number, *options, again};
      return;
    }
    const std::int64_t number =
        database_.run("SELECT count(*) FROM trials WHERE study_id = ?", {id_})[0][0].get<std::int64_t>();
    if (number >= count) return;
    const std::optional<Assignment> options = choose(number, read(true, 0), all_options());
    if (!options) return;
    const std::int64_t id = add_trial(number, *options);
    take(id);
    next.claim = Claim{id, number, *options, false};
  });
  return next;
}

std::vector<Trial> Study::ended() { return read(true, 0); }
std::vector<Trial> Study::others(std::int64_t id) { return read(false, id); }

std::vector<Trial> Study::read(bool ended_alone, std::int64_t but) {
  std::vector<Trial> trials;
  for (const auto& row : database_.run("SELECT t.trial_id, t.number, t.state, v.value FROM trials t LEFT JOIN "
                                       "trial_values v ON v.trial_id = t.trial_id AND v.objective = 0 "
                                       "WHERE t.study_id = ? ORDER BY t.number",
                                       {id_})) {
    const auto id = row[0].get<std::int64_t>();
    const std::string state = row[2].get<std::string>();
    const bool ended = state == "COMPLETE" || state == "PRUNED" || state == "FAIL";
    if (id == but || (ended_alone && !ended)) continue;
    Trial trial;
    trial.number = row[1].is_null() ? 0 : row[1].get<std::int64_t>();
    trial.options = params(id);
    if (row[3].is_number()) trial.value = row[3].get<double>();
    trial.state = state == "PRUNED" ? Trial::State::kPruned
                  : state == "FAIL" || (state == "COMPLETE" && !trial.value) ? Trial::State::kFailed
                                                                             : Trial::State::kComplete;
    if (const Json steps = attribute("trial", id, kSteps); steps.is_number_integer())
      trial.steps = steps.get<std::int64_t>();
    if (const Json reason = attribute("trial", id, kReason); reason.is_string())
      trial.reason = reason.get<std::string>();
    const Json rungs = attribute("trial", id, kRungs);
    if (rungs.is_array()) {
      const core::JsonView view(rungs, options_.file.string() + ": " + kRungs);
      for (std::size_t i = 0; i < view.size(); ++i)
        trial.rungs.emplace_back(view.at(i).at(std::size_t{0}).as_int(1), view.at(i).at(std::size_t{1}).as_double());
    }
    trials.push_back(std::move(trial));
  }
  return trials;
}

void Study::report(std::int64_t id, std::int64_t step, double loss) {
  database_.alone([&] {
    if (!is_ours(id)) return;
    database_.run(
        "INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type) "
        "VALUES (?, ?, ?, 'FINITE') ON CONFLICT (trial_id, step) DO UPDATE SET intermediate_value = "
        "excluded.intermediate_value, intermediate_value_type = 'FINITE'",
        {id, step, loss});
  });
}

void Study::reached(std::int64_t id, const std::vector<std::pair<std::int64_t, double>>& rungs) {
  Json list = Json::array();
  for (const auto& [step, loss] : rungs) list.push_back({step, loss});
  database_.alone([&] {
    if (is_ours(id)) set_attribute("trial", id, kRungs, list);
  });
}

bool Study::end(std::int64_t id, const Trial& trial) {
  bool ours = false;
  database_.alone([&] {
    ours = is_ours(id);
    if (!ours) return;
    set_attribute("trial", id, kSteps, trial.steps);
    if (trial.state == Trial::State::kFailed) return fail(id, trial.reason);
    if (trial.value)
      database_.run(
          "INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES (?, 0, ?, 'FINITE') "
          "ON CONFLICT (trial_id, objective) DO UPDATE SET value = excluded.value, value_type = 'FINITE'",
          {id, *trial.value});
    database_.run(fmt::format("UPDATE trials SET state = ?, datetime_complete = {} WHERE trial_id = ?", kNow),
                  {trial.state == Trial::State::kPruned ? "PRUNED" : "COMPLETE", id});
  });
  return ours;
}

void Study::give_back(std::int64_t id) {
  database_.alone([&] {
    if (is_ours(id)) database_.run("UPDATE trials SET state = 'WAITING' WHERE trial_id = ?", {id});
  });
}

bool Study::alive(std::int64_t id) {
  bool ours = false;
  database_.alone([&] { ours = give_sign(database_, id, options_.owner); });
  return ours;
}

Heartbeat::Heartbeat(const StudyOptions& options, std::int64_t id)
    : thread_([this, options, id] { run(options, id); }) {}

Heartbeat::~Heartbeat() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  end_.notify_all();
  thread_.join();
}

void Heartbeat::run(const StudyOptions& options, std::int64_t id) {
  const auto pause = std::chrono::duration<double>(options.silence / 4);
  std::unique_lock lock(mutex_);
  while (!ends_ && !lost_) {
    lock.unlock();
    try {  // a connection each time: nothing of the file is held open meanwhile
      Database database(options.file);
      database.alone([&] { lost_ = !give_sign(database, id, options.owner); });
    } catch (const Error&) {  // the disk is full, or the file is locked: the next sign may get through
    }
    lock.lock();
    end_.wait_for(lock, pause, [&] { return ends_; });
  }
}

}  // namespace lowrank::train
