#include <fmt/format.h>

#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"

namespace lowrank::core {

namespace {

// What a message says was found: "the string 'x'", "1.5", "an object".
std::string found(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::boolean:
      return value.get<bool>() ? "true" : "false";
    case Json::value_t::string:
      return "the string '" + printable(value.get_ref<const std::string&>(), 60) + "'";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return fmt::format("an array of {}", value.size());
    case Json::value_t::number_float: {
      const double number = value.get<double>();
      return std::floor(number) == number && std::abs(number) < 1e15 ? fmt::format("{:.1f}", number)
                                                                     : fmt::format("{}", number);
    }
    case Json::value_t::binary: {  // no JSON: a reader put it here to say what is wrong with a text that may stay unread
      const auto& what = value.get_binary();
      return std::string(what.begin(), what.end());
    }
    default:
      return json_text(value);
  }
}

const Json* find_member(const Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  for (const auto& [name, value] : object.get_ref<const Json::object_t&>()) {
    if (name == key) return &value;
  }
  return nullptr;
}

}  // namespace

void JsonView::fail(const std::string& problem) const { throw FormatError(where_ + ": " + problem); }

JsonView JsonView::child(const Json& value, const std::string& step) const {
  JsonView view(value, where_ + (nested_ || step.starts_with('[') ? "" : ": ") +
                           (nested_ && !step.starts_with('[') ? "." : "") + step);
  view.nested_ = true;
  return view;
}

bool JsonView::has(std::string_view key) const { return find_member(*value_, key) != nullptr; }

bool JsonView::has_value(std::string_view key) const {
  const Json* member = find_member(*value_, key);
  return member != nullptr && !member->is_null();
}

JsonView JsonView::at(std::string_view key) const {
  if (!is_object()) fail("expected an object, found " + found(*value_));
  if (const Json* member = find_member(*value_, key)) return child(*member, printable(key));
  fail("the key '" + printable(key) + "' is missing" + did_you_mean(key, keys()));
}

JsonView JsonView::at(std::size_t index) const {
  if (!is_array()) fail("expected an array, found " + found(*value_));
  if (index >= value_->size()) fail(fmt::format("has {} elements, element {} was expected", value_->size(), index));
  return child((*value_)[index], fmt::format("[{}]", index));
}

std::size_t JsonView::size() const {
  if (!is_array() && !is_object()) fail("expected an array or an object, found " + found(*value_));
  return value_->size();
}

std::vector<std::string> JsonView::keys() const {
  if (!is_object()) fail("expected an object, found " + found(*value_));
  std::vector<std::string> names;
  names.reserve(value_->size());
  for (const auto& member : value_->get_ref<const Json::object_t&>()) names.push_back(member.first);
  return names;
}

std::string JsonView::as_string() const {
  if (!is_string()) fail("expected a string, found " + found(*value_));
  return value_->get<std::string>();
}

bool JsonView::as_bool() const {
  if (!is_bool()) fail("expected true or false, found " + found(*value_));
  return value_->get<bool>();
}

std::int64_t JsonView::as_int(std::int64_t low, std::int64_t high) const {
  const auto outside = [&] {
    if (low == std::numeric_limits<std::int64_t>::min() && high == std::numeric_limits<std::int64_t>::max()) {
      fail("expected an integer of 64 bits, found " + found(*value_));
    }
    if (high == std::numeric_limits<std::int64_t>::max()) {
      fail(fmt::format("expected an integer of at least {}, found {}", low, found(*value_)));
    }
    fail(fmt::format("expected an integer from {} to {}, found {}", low, high, found(*value_)));
  };
  if (!value_->is_number_integer()) {
    // An integer that 64 bits do not hold was parsed as a double.
    if (value_->is_number_float() && std::abs(value_->get<double>()) >= 0x1p63) outside();
    fail("expected an integer, found " + found(*value_));
  }
  const bool too_large = value_->is_number_unsigned() && value_->get<std::uint64_t>() > std::uint64_t{INT64_MAX};
  if (too_large || value_->get<std::int64_t>() < low || value_->get<std::int64_t>() > high) outside();
  return value_->get<std::int64_t>();
}

double JsonView::as_double() const {
  if (!is_number()) fail("expected a number, found " + found(*value_));
  const double number = value_->get<double>();
  if (!std::isfinite(number)) fail("expected a finite number, found " + found(*value_));
  return number;
}

std::vector<std::string> JsonView::as_strings() const {
  if (!is_array()) fail("expected an array of strings, found " + found(*value_));
  std::vector<std::string> strings;
  strings.reserve(value_->size());
  for (std::size_t i = 0; i < value_->size(); ++i) strings.push_back(at(i).as_string());
  return strings;
}

std::string JsonView::get_string(std::string_view key, const std::string& fallback) const {
  return has_value(key) ? at(key).as_string() : fallback;
}

bool JsonView::get_bool(std::string_view key, bool fallback) const {
  return has_value(key) ? at(key).as_bool() : fallback;
}

std::int64_t JsonView::get_int(std::string_view key, std::int64_t fallback, std::int64_t low, std::int64_t high) const {
  return has_value(key) ? at(key).as_int(low, high) : fallback;
}

double JsonView::get_double(std::string_view key, double fallback) const {
  return has_value(key) ? at(key).as_double() : fallback;
}

}  // namespace lowrank::core
