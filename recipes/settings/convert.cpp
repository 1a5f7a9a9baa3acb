#include "lowrank/recipes/settings/convert.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/recipes/settings/converter.h"

namespace lowrank::recipes {

bool ForeignConverter::is_off(const Json& value) {
  return value == Json(false) || value == Json("false") || value == Json("no");
}

std::string ForeignConverter::in_words(const Json& value, const char* by) {
  if (!value.is_array()) return value.is_string() ? value.get<std::string>() : core::json_text(value);
  std::string text;
  for (const Json& one : value)
    text += (text.empty() ? "" : by) + (one.is_string() ? one.get<std::string>() : core::json_text(one));
  return text;
}

ForeignConverter::ForeignConverter(const std::string& tool, const std::string& name, const Json& file,
                                   const SettingNames& known)
    : file_(file), name_(name), known_(known) {
  result_.tool = tool;
}

ConvertedSettings ForeignConverter::run() {
  choose_verb();
  for (const auto& [key, value] : file_.items()) {
    if (value.is_null()) continue;
    key_ = key;
    const bool done = of_method(key, value) || of_schedule(key, value) || of_data(key, value) || of_template(key, value) ||
                      of_rewards(key, value) || of_records(key, value);
    if (!done) by_table(key, value);
  }
  key_.clear();
  settle_method();
  defaults();
  in_order();
  find_other_objective();
  return std::move(result_);
}

ConvertedSettings::Setting* ForeignConverter::setting(const std::string& name) {
  const auto it = std::find_if(result_.settings.begin(), result_.settings.end(), [&](const auto& s) { return s.name == name; });
  return it == result_.settings.end() ? nullptr : &*it;
}

void ForeignConverter::set(const std::string& name, const Json& value, const std::string& remark) {
  if (name != "model" && option(name) == nullptr) return leave(key_, fmt::format("`lowrank {}` has no `{}`", result_.verb, name));
  const ConvertedSettings::Setting* const there = setting(name);
  if (there == nullptr) return result_.settings.push_back({name, value, remark, key_});
  if (there->value != value) leave(key_, fmt::format("`{}` is {}, by {}", name, in_words(there->value), there->key));
}

void ForeignConverter::replace(const std::string& name, const Json& value, const std::string& remark) {
  const ConvertedSettings::Setting* const there = setting(name);
  if (there != nullptr && there->value == value) return;
  if (there != nullptr) drop(name, fmt::format("`{}` is {}, by {}", name, in_words(value), key_));
  set(name, value, remark);
}

void ForeignConverter::drop(const std::string& name, const std::string& why) {
  const ConvertedSettings::Setting* const there = setting(name);
  if (there == nullptr) return;
  leave(there->key, why);
  std::erase_if(result_.settings, [&](const auto& one) { return one.name == name; });
}

void ForeignConverter::leave(const std::string& key, const std::string& why) {
  for (auto& [left, reason] : result_.left_out) {
    if (left != key) continue;
    if (reason.find(why) == reason.npos) reason += "; " + why;
    return;
  }
  result_.left_out.emplace_back(key, why);
}

const core::Json* ForeignConverter::find(const std::string& key) const {
  const auto it = file_.find(key);
  return it == file_.end() || it->is_null() ? nullptr : &*it;
}

std::optional<std::int64_t> ForeignConverter::whole(const std::string& key) const {
  const Json* const value = find(key);
  if (value == nullptr || !value->is_number_integer() || value->get<std::int64_t>() < 1) return std::nullopt;
  return value->get<std::int64_t>();
}

const FieldInfo* ForeignConverter::option(const std::string& name) const {
  for (const FieldInfo& one : known_.options_of(result_.verb))
    if (one.name == name) return &one;
  return nullptr;
}

void ForeignConverter::in_order() {
  const std::vector<FieldInfo>& options = known_.options_of(result_.verb);
  const auto place = [&](const std::string& name) {
    if (name == "model") return std::size_t{0};
    for (std::size_t i = 0; i < options.size(); ++i)
      if (options[i].name == name) return i + 1;
    return options.size() + 1;
  };
  std::stable_sort(result_.settings.begin(), result_.settings.end(),
                   [&](const auto& a, const auto& b) { return place(a.name) < place(b.name); });
}

ConvertedSettings convert_settings(const std::string& tool, const std::string& name, const core::Json& file, const SettingNames& known) {
  return ForeignConverter(tool, name, file, known).run();
}

}  // namespace lowrank::recipes
