#include "lowrank/recipes/run/finished_run.h"

#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;
using core::Json;

namespace {

Json run_json_in(const fs::path& out) {
  std::error_code error;
  if (!fs::is_regular_file(out / "run.json", error)) return Json::object();
  try {
    const Json json = core::read_json(core::FileRef::within(out, out / "run.json"));
    return json.is_object() ? json : Json::object();
  } catch (const Error&) {
    return Json::object();  // a report, and not ours to judge here
  }
}

bool same_input(const Json& was, const Json& is) {
  if (was == is) return true;
  if (was.is_array() && is.is_array()) {
    if (was.size() != is.size()) return false;
    for (std::size_t i = 0; i < was.size(); ++i)
      if (!same_input(was[i], is[i])) return false;
    return true;
  }
  if (!was.is_string() || !is.is_string()) return false;
  const fs::path before = was.get<std::string>(), now = is.get<std::string>();
  std::error_code error;
  if (fs::equivalent(before, now, error)) return true;
  return !fs::exists(before, error) && before.filename() == now.filename();
}

Json options_in(const Json& run) {
  Json result = Json::object();
  if (!run.contains("options") || !run["options"].is_object()) return result;
  for (const auto& [name, value] : run["options"].items()) result["--" + name] = value;
  return result;
}

}  // namespace

Json options_of_run(const fs::path& out) { return options_in(run_json_in(out)); }

std::vector<Difference> differences(const Json& before, const Fields& fields) {
  std::vector<Difference> found;
  const Json now = fields.identity();
  for (const auto& [flag, value] : now.items())
    if (before.contains(flag) && before[flag] != value) found.push_back({flag.substr(2), before[flag], value});
  return found;
}

std::vector<Difference> other_inputs(const fs::path& out, const Fields& fields, const fs::path& model) {
  std::vector<Difference> found;
  const Json run = run_json_in(out), before = options_in(run);
  for (const char* name : {"data", "val-data", "general-data", "add-tokens", "chat-template", "adapter"}) {
    const std::string flag = std::string("--") + name;
    if (!fields.contains(name) || !before.contains(flag)) continue;
    const Json now = fields.get(name);
    if (!same_input(before[flag], now)) found.push_back({name, before[flag], now});
  }
  if (model.empty() || !run.contains("model") || !run["model"].is_object()) return found;
  const Json path = run["model"].value("path", "");
  if (path != "" && !same_input(path, Json(model.string()))) found.push_back({"MODEL", path, model.string()});
  return found;
}

std::string in_words(const std::vector<Difference>& found) {
  const auto said = [](const Json& value) { return value.is_null() ? std::string("not given") : core::json_text(value); };
  std::string text;
  for (const Difference& one : found) {
    const bool field = one.name != "MODEL";
    text += fmt::format("{}{}{}{} {}, now {}", text.empty() ? "" : "; ", field ? "`" : "", one.name, field ? "`" : "", said(one.was),
                        said(one.is));
  }
  return text;
}

}  // namespace lowrank::recipes
