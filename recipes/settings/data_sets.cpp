// Data sets: files, what their rows are, and which turns are learned.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/recipes/settings/converter.h"
#include "lowrank/recipes/settings/own_prompt.h"

namespace lowrank::recipes {

namespace {

constexpr const char* kHub = "files or folders, or ORG/NAME of the hub after `lowrank pull datasets/ORG/NAME`";

/// Turns {"from", "value"} in "conversations".
bool is_sharegpt(const core::Json& entry) {
  const core::Json keys = entry.value("message_property_mappings", core::Json());
  return keys.is_object() && keys.size() == 2 && keys.value("role", core::Json()) == core::Json("from") &&
         keys.value("content", core::Json()) == core::Json("value") && entry.value("field_messages", core::Json()) == core::Json("conversations");
}

/// The name of rows that Axolotl calls `type`.
std::string axolotl_rows(const std::string& type, const core::Json& entry) {
  return type == "chat_template" && is_sharegpt(entry)                    ? "sharegpt"
         : type.starts_with("alpaca")                                     ? "alpaca"
         : type == "chat_template"                                        ? "messages"
         : type.starts_with("sharegpt")                                   ? "sharegpt"
         : type.starts_with("completion") || type.starts_with("pretrain") ? "text"
                                                                          : "auto";
}

}  // namespace

bool ForeignConverter::of_data(const std::string& key, const Json& value) {
  if (key == "dataset_dir") return true;
  if ((key == "datasets" || key == "test_datasets") && value.is_array())
    return axolotl_datasets(key, key == "datasets" ? "data" : "val-data", value);
  if (value.is_object()) return false;
  if (key == "dataset" && is("LLaMA-Factory")) return factory_datasets("data", in_words(value));
  if (key == "eval_dataset" && is("LLaMA-Factory")) return factory_datasets("val-data", in_words(value));
  if (key == "dataset_name" || key == "dataset") {
    set("data", Json::array({in_words(value)}), kHub);
    return true;
  }
  if (key == "tokens" && value.is_array()) {
    if (!value.empty()) leave(key, "`add-tokens` FILE takes them, one a line");
    return true;
  }
  if ((key == "mask_prompt" && is("mlx-lm")) || (key == "completion_only_loss" && is("TRL"))) {
    if (is_off(value)) set("train-on-prompt", true);
    return true;
  }
  static const std::map<std::string, std::string> features = {{"prompt_feature", "prompt"}, {"completion_feature", "completion"},
                                                              {"text_feature", "text"},     {"chat_feature", "messages"},
                                                              {"dataset_text_field", "text"}};
  if (const auto column = features.find(key); column != features.end() && value.is_string()) {
    if (value == Json(column->second)) return true;
    const std::string entry = column->second + "=" + in_words(value);
    if (ConvertedSettings::Setting* const columns = setting("columns")) {
      columns->value = in_words(columns->value) + "," + entry;
    } else {
      set("columns", entry);
    }
    return true;
  }
  if (key != "assistant_only_loss") return false;
  if (is_off(value)) learns_all_turns(key);
  return true;
}

bool ForeignConverter::axolotl_datasets(const std::string& list, const std::string& target, const Json& entries) {
  Json paths = Json::array();
  std::string format, remark;
  std::set<std::string> layouts;
  bool laid_out = true;
  for (const Json& one : entries) {
    if (!one.is_object()) {
      leave(list, "an entry that is no mapping: " + in_words(one));
      continue;
    }
    for (const auto& [key, value] : one.items()) {
      static const std::set<std::string> read = {"path", "data_files", "type", "ds_type"};
      if (read.count(key) != 0 || value.is_null()) continue;
      static const std::map<std::string, std::string> columns = {
          {"field", "text"}, {"field_messages", "messages"}, {"field_chosen", "chosen"}, {"field_rejected", "rejected"}, {"field_prompt", "prompt"}};
      const auto column = columns.find(key);
      const bool as_here = (column != columns.end() && value == Json(column->second)) || (key == "roles_to_train" && value == Json({"assistant"}));
      if (as_here || of_template(key, value)) continue;
      if (is_sharegpt(one) && (key == "field_messages" || key == "message_property_mappings")) continue;
      leave(list + ": " + key, column != columns.end()  ? "name columns with `columns`: " + column->second + "=" + in_words(value)
                               : key == "split"          ? "all of a file is read; give the part as a file of its own"
                               : key == "roles_to_train" ? "`loss-on` roles says whose turns are learned"
                                                         : "nothing like it here");
    }
    const Json path = one.contains("data_files") ? one["data_files"] : one.value("path", Json(""));
    if (path.is_array()) {
      for (const Json& file : path) paths.push_back(file);
    } else if (!path.is_null() && path != Json("")) {
      paths.push_back(path);
    }
    if (one.contains("type") && one["type"].is_object()) {
      const OwnPrompt layout = layout_of_prompt(one["type"]);
      if (!layout.why_not.empty()) leave(list + ": type", layout.why_not);
      layouts.insert(layout.text);
      continue;
    }
    laid_out = false;
    const std::string type = one.contains("type") ? in_words(one["type"]) : "", ours = axolotl_rows(type, one);
    if (ours == "auto" && !type.empty()) remark = "rows of '" + type + "': their form is found out from them";
    format = format.empty() || format == ours ? ours : "auto";
  }
  set(target, paths, kHub);
  if (target != "data" || result_.verb != "finetune") return true;
  if (laid_out && layouts.size() == 1 && !layouts.begin()->empty()) {
    set("layout", *layouts.begin());
  } else if (!layouts.empty()) {
    leave(list + ": type", "rows are of one form for all files here: make them {\"prompt\", \"completion\"} beforehand");
  } else if (!format.empty()) {
    set("format", format, remark);
  }
  return true;
}

/// Names of dataset_info.json, where it can be read, as the files they stand for.
bool ForeignConverter::factory_datasets(const std::string& target, const std::string& names) {
  namespace fs = std::filesystem;
  const Json* const directory = find("dataset_dir");
  const fs::path folder = directory != nullptr && directory->is_string() ? directory->get<std::string>() : "data";
  Json info;
  if (std::error_code none; fs::is_regular_file(folder / "dataset_info.json", none))
    info = core::read_json(folder / "dataset_info.json");
  Json paths = Json::array();
  std::string remark;
  for (std::size_t begin = 0; begin <= names.size();) {
    const std::size_t end = std::min(names.find(',', begin), names.size());
    std::string name = names.substr(begin, end - begin);
    name.erase(0, name.find_first_not_of(' '));
    begin = end + 1;
    if (name.empty()) continue;
    const auto entry = info.is_object() ? info.find(name) : info.end();
    if (entry == info.end() || !entry->is_object() || !entry->contains("file_name")) {
      paths.push_back(name);
      remark = "names of LLaMA-Factory's dataset_info.json: write the files that they stand for";
      continue;
    }
    const core::JsonView set(*entry, (folder / "dataset_info.json").string() + ": " + name);
    const fs::path file = folder / set.at("file_name").as_string();
    try {
      core::InputFile(core::FileRef::within(folder, file));  // refused where a run would refuse it
    } catch (const MissingError&) {
      // It may come later.
    }
    // Names of columns and roles of its own are read where the entry is.
    const bool mapped = entry->contains("columns") || entry->contains("tags");
    paths.push_back(mapped ? (folder / name).string() : file.string());
    if (set.get_string("formatting", "alpaca") == "sharegpt" && result_.verb == "finetune" && !has("format")) this->set("format", "auto");
  }
  set(target, paths, remark);
  return true;
}

}  // namespace lowrank::recipes
