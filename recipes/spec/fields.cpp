#include "lowrank/recipes/spec/fields.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/table.h"
#include "lowrank/core/text.h"

namespace lowrank::recipes {

namespace {

using core::Json;

FieldType type_of(const Fields::Member& member) {
  return std::visit(
      [](const auto* value) {
        using T = std::remove_cvref_t<decltype(*value)>;
        if constexpr (std::is_same_v<T, bool>) {
          return FieldType::kFlag;
        } else if constexpr (std::is_same_v<T, std::int64_t> || std::is_same_v<T, std::optional<std::int64_t>>) {
          return FieldType::kInt;
        } else if constexpr (std::is_same_v<T, double> || std::is_same_v<T, std::optional<double>> ||
                             std::is_same_v<T, AutoNumber>) {
          return FieldType::kNumber;
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          return FieldType::kTexts;
        } else {
          return FieldType::kText;
        }
      },
      member);
}

/// What is wrong with a text as a value of the field, in words that follow its name; nothing where it is right.
std::optional<std::string> wrong_choice(const FieldInfo& field, const std::string& text) {
  const auto& choices = field.choices;
  if (choices.empty() || std::find(choices.begin(), choices.end(), text) != choices.end()) return std::nullopt;
  return fmt::format("is one of {}; found '{}'{}", fmt::join(choices, ", "), core::printable(text),
                     core::did_you_mean(text, choices));
}

/// The value as the member's type; FieldError where it is of another.
template <typename T>
T checked(const std::string& name, const Json& value) {
  const bool right = std::is_same_v<T, bool>           ? value.is_boolean()
                     : std::is_same_v<T, std::int64_t> ? value.is_number_integer()
                     : std::is_same_v<T, double>       ? value.is_number()
                     : std::is_same_v<T, std::string>
                         ? value.is_string()
                         : value.is_array() &&
                               std::all_of(value.begin(), value.end(), [](const Json& one) { return one.is_string(); });
  if (!right) throw FieldError(name, "a value of another type was expected, found " + core::printable(core::json_text(value)));
  return value.get<T>();
}

}  // namespace

Json parse_value(const FieldInfo& field, const std::string& text, const std::string& where) {
  const auto fail = [&](const std::string& expected) {
    throw ConfigError(
        fmt::format("{}: `{}` expects {}, found '{}'", where, field.name, expected, core::printable(text)));
  };
  Json value = text;
  const char* const end = text.data() + text.size();
  switch (field.type) {
    case FieldType::kFlag:
      if (text == "true" || text == "yes" || text == "on") return true;
      if (text == "false" || text == "no" || text == "off") return false;
      fail("true or false");
      break;
    case FieldType::kInt: {
      std::int64_t n = 0;
      const auto [stop, error] = std::from_chars(text.data(), end, n);
      if (error != std::errc() || stop != end) fail("a whole number");
      value = n;
      break;
    }
    case FieldType::kNumber: {
      if (std::find(field.choices.begin(), field.choices.end(), text) != field.choices.end()) return text;
      double x = 0;
      const auto [stop, error] = std::from_chars(text.data(), end, x);
      if (error != std::errc() || stop != end || !std::isfinite(x))
        fail(field.choices.empty() ? "a number" : fmt::format("a number or {}", fmt::join(field.choices, ", ")));
      value = x;
      break;
    }
    case FieldType::kText:
    case FieldType::kTexts:
      break;
  }
  if (const auto wrong = field.type == FieldType::kNumber ? std::nullopt : wrong_choice(field, text))
    throw ConfigError(fmt::format("{}: `{}` {}", where, field.name, *wrong));
  return value;
}

void Fields::add(std::string name, Member member, std::string value, std::string help, Traits traits) {
  FieldInfo field;
  field.name = std::move(name);
  field.type = type_of(member);
  field.value = std::move(value);
  field.group = group_;
  field.help = std::move(help);
  field.choices = std::move(traits.choices);
  field.required = traits.required;
  field.range = traits.range;
  field.identity = traits.identity;
  field.searched = traits.searched;
  info_.push_back(std::move(field));
  members_.push_back(member);
  Json& fallback = info_.back().fallback;
  fallback = member_value(members_.size() - 1);
  if (fallback == Json("") || fallback == Json::array()) fallback = nullptr;
  if (fallback.is_number_float() && !traits.decimal && std::floor(fallback.get<double>()) == fallback.get<double>())
    fallback = static_cast<std::int64_t>(fallback.get<double>());
}

void Fields::remove(const std::string& name) {
  const auto at = static_cast<std::ptrdiff_t>(index(name));
  info_.erase(info_.begin() + at);
  members_.erase(members_.begin() + at);
}

const FieldInfo* Fields::find(const std::string& name) const {
  const auto it = std::find_if(info_.begin(), info_.end(), [&](const FieldInfo& field) { return field.name == name; });
  return it == info_.end() ? nullptr : &*it;
}

std::size_t Fields::index(const std::string& name) const {
  if (const FieldInfo* const field = find(name)) return static_cast<std::size_t>(field - info_.data());
  std::vector<std::string> names;
  for (const FieldInfo& field : info_) names.push_back(field.name);
  throw ConfigError(fmt::format("unknown field {}{}", core::printable(name), core::did_you_mean(name, names)));
}

Json Fields::member_value(std::size_t i) const {
  return std::visit(
      [](const auto* value) -> Json {
        using T = std::remove_cvref_t<decltype(*value)>;
        if constexpr (std::is_same_v<T, AutoNumber>) {
          return value->automatic ? Json("auto") : value->number ? Json(*value->number) : Json(nullptr);
        } else if constexpr (requires { value->has_value(); }) {
          return value->has_value() ? Json(**value) : Json(nullptr);
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          return Json(*value);
        } else {
          return Json(*value);
        }
      },
      members_[i]);
}

Json Fields::get(const std::string& name) const {
  const std::size_t i = index(name);
  Json value = member_value(i);
  const auto it = spec_->given.find(name);
  if (it != spec_->given.end() && it->second.value == value) return it->second.value;
  if (value == Json("") || value == Json::array()) return nullptr;
  return value == info_[i].fallback ? info_[i].fallback : value;
}

void Fields::set(const std::string& name, const Json& value, const std::string& source) {
  const std::size_t i = index(name);
  const Json& taken = value.is_null() ? info_[i].fallback : value;
  std::visit(
      [&](auto* member) {
        using T = std::remove_cvref_t<decltype(*member)>;
        if (taken.is_null()) {
          *member = T();
        } else if constexpr (std::is_same_v<T, AutoNumber>) {
          member->automatic = taken == Json("auto");
          member->number = member->automatic ? std::nullopt : std::optional(checked<double>(name, taken));
        } else if constexpr (requires { member->has_value(); }) {
          *member = checked<typename T::value_type>(name, taken);
        } else {
          *member = checked<T>(name, taken);
        }
      },
      members_[i]);
  spec_->given[name] = {source, value};
}

bool Fields::given(const std::string& name) const {
  const FieldInfo* const field = find(name);
  if (field == nullptr) return false;
  return spec_->given.contains(name) || get(name) != field->fallback;
}

void Fields::fail(const std::string& name, const std::string& problem) const {
  const auto it = spec_->given.find(name);
  const bool from_file = it != spec_->given.end() && it->second.source != "command line";
  throw FieldError(name, problem, from_file ? it->second.source : "");
}

void Fields::check() const {
  for (std::size_t i = 0; i < info_.size(); ++i) {
    const FieldInfo& field = info_[i];
    const Json value = member_value(i);
    if (value.is_null()) continue;
    if (field.range && value.is_number()) {
      const auto [low, high] = *field.range;
      const double number = value.get<double>();
      if (!(number >= low && number <= high)) {
        fail(field.name, field.type == FieldType::kInt
                             ? fmt::format("expected {} to {}, found {}", static_cast<std::int64_t>(low),
                                           static_cast<std::int64_t>(high), value.get<std::int64_t>())
                             : fmt::format("expected {} to {}, found {}", low, high, number));
      }
    }
    if (field.type != FieldType::kText) continue;
    if (const auto wrong = value == Json("") ? std::nullopt : wrong_choice(field, value.get<std::string>()))
      fail(field.name, *wrong);
  }
}

Json Fields::to_json() const {
  Json json = Json::object();
  for (const FieldInfo& field : info_) json[field.name] = get(field.name);
  return json;
}

Json Fields::identity() const {
  Json json = Json::object();
  for (const FieldInfo& field : info_) {
    if (field.identity == Identity::kValue) json["--" + field.name] = get(field.name);
  }
  return json;
}

std::string Fields::command(const std::string& verb, const std::vector<std::string>& positionals,
                            const std::map<std::string, Json>& instead) const {
  std::string command = "lowrank " + verb;
  for (const std::string& positional : positionals) command += " " + core::shell_quoted(positional);
  for (const FieldInfo& field : info_) {
    const auto other = instead.find(field.name);
    if (other == instead.end() && !given(field.name)) continue;
    const Json value = other != instead.end() ? other->second : get(field.name);
    if (value.is_null() || value == Json(false)) continue;
    command += " --" + field.name;
    const auto add = [&](const Json& one) {
      command += " " + core::shell_quoted(one.is_string() ? one.get<std::string>() : core::json_text(one));
    };
    if (value.is_array()) {
      for (const Json& one : value) add(one);
    } else if (!value.is_boolean()) {
      add(value);
    }
  }
  return command;
}

void Fields::fall_back_to(const Fields& defaults) {
  for (std::size_t i = 0; i < info_.size(); ++i) info_[i].fallback = defaults.info_[i].fallback;
}

}  // namespace lowrank::recipes
