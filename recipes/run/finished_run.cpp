#include "lowrank/recipes/run/finished_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"
#include "lowrank/recipes/run/run_inputs.h"
#include "lowrank/train/checkpoint.h"

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

std::vector<Difference> other_inputs(const fs::path& out, const Fields& fields, const fs::path& model,
                                     const std::optional<fs::path>& adapter) {
  std::vector<Difference> found;
  const Json run = run_json_in(out), before = options_in(run);
  for (const char* name : {"data", "val-data", "general-data", "add-tokens", "chat-template", "adapter"}) {
    const std::string flag = std::string("--") + name;
    if (!fields.contains(name) || !before.contains(flag)) continue;
    const Json now = fields.get(name);
    if (!same_input(before[flag], now)) found.push_back({name, before[flag], now});
  }
  if (!model.empty() && run.contains("model") && run["model"].is_object()) {
    const Json path = run["model"].value("path", "");
    if (path != "" && !same_input(path, Json(model.string()))) found.push_back({"MODEL", path, model.string()});
  }
  if (!found.empty() || !run.contains("inputs") || !run["inputs"].is_object()) return found;
  for (const auto& [option, files] : run["inputs"].items()) {
    std::string words = changed_input(run, option, fields, model, adapter);
    if (!words.empty()) found.push_back({option, nullptr, nullptr, std::move(words)});
  }
  return found;
}

std::string restore_result(const fs::path& out) {
  const Json run = run_json_in(out);
  if (!run.contains("files") || !run["files"].is_array() || !run.contains("result") || !run["result"].is_object()) return "";
  std::vector<std::string> gone, weights;
  std::error_code none;
  for (const Json& file : run["files"]) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    if (name.empty() || fs::path(name).filename() != name || fs::exists(out / name, none)) continue;
    gone.push_back(name);
    if (name.ends_with(".safetensors") || name.ends_with("config.json")) weights.push_back(name);
  }
  if (weights.empty()) return "";  // a report that somebody has put away is not missed
  const Json& result = run["result"];
  const bool best = result.value("top", Json()) == Json("best");
  const Json step = best ? result.value("best_step", Json()) : run.value("totals", Json::object()).value("steps", Json());
  // One that was scaled at the end is none of its checkpoints.
  const bool scaled = result.contains("forgetting") && result["forgetting"].value("scale", Json(1.0)) != Json(1.0);
  const fs::path checkpoint = step.is_number_integer() ? train::checkpoint_path(out, step.get<std::int64_t>()) : fs::path();
  const bool holds = !scaled && !checkpoint.empty() && fs::exists(checkpoint, none) && train::checkpoint_fault(checkpoint).empty() &&
                     std::all_of(weights.begin(), weights.end(), [&](const std::string& name) { return fs::exists(checkpoint / name); });
  if (!holds) {
    const auto newest = train::newest_checkpoint(out, nullptr);
    throw ConfigError(fmt::format("{} holds a finished run whose {} is gone, and no checkpoint holds it as it was: {}give `overwrite` in place of `resume` to train it again",
                                  out.string(), weights.front(),
                                  newest ? fmt::format("take {} instead, or ", newest->string()) : std::string()));
  }
  const core::DirectoryLock lock(out);
  for (const std::string& name : gone) {
    if (!fs::is_regular_file(checkpoint / name, none)) continue;
    const auto file = core::MappedFile::open(core::FileRef::within(out, checkpoint / name));
    core::AtomicFile back(out / name, file->bytes().size());
    back.write(file->bytes());
    back.commit();
  }
  return fmt::format("{} was gone from {}, and is there again as {} has it", weights.front(), out.string(), checkpoint.string());
}

std::string kinds_of(const std::vector<Difference>& found) {
  const auto inputs = std::count_if(found.begin(), found.end(), [](const Difference& one) { return !one.words.empty(); });
  return inputs == 0 ? "options" : inputs == std::ssize(found) ? "inputs" : "options and inputs";
}

std::string in_words(const std::vector<Difference>& found) {
  const auto said = [](const Json& value) { return value.is_null() ? std::string("not given") : core::json_text(value); };
  std::string text;
  for (const Difference& one : found) {
    const std::string name = one.name.starts_with("MODEL") ? one.name : "`" + one.name + "`";
    text += text.empty() ? "" : "; ";
    text += one.words.empty() ? fmt::format("{} {}, now {}", name, said(one.was), said(one.is)) : fmt::format("{}: {}", name, one.words);
  }
  return text;
}

}  // namespace lowrank::recipes
