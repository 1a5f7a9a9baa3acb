#include "lowrank/models/config_reader.h"

#include <utility>

#include "lowrank/models/config_keys.h"
#include "lowrank/models/families/family.h"

namespace lowrank::models {

std::string ConfigReader::spelled(std::string_view key) {
  const std::string own(family_.spelling(key));
  asked_.insert(own);
  asked_.insert(std::string(key));
  return own == key || json_.has(own) || !json_.has(key) ? own : std::string(key);
}

std::int64_t ConfigReader::integer(std::string_view key, std::int64_t high) {
  for (const auto& [known, fallback] : family_.defaults) {
    if (known == key) return integer(key, fallback, 1, high);
  }
  const std::int64_t value = at(key).as_int(1, high);
  write(key, value);
  return value;
}

std::int64_t ConfigReader::integer(std::string_view key, std::int64_t fallback, std::int64_t low, std::int64_t high) {
  const std::int64_t value = json_.get_int(spelled(key), fallback, low, high);
  write(key, value);
  return value;
}

double ConfigReader::number(std::string_view key, double fallback) {
  const double value = json_.get_double(spelled(key), fallback);
  write(key, value);
  return value;
}

bool ConfigReader::boolean(std::string_view key, bool fallback) {
  const bool value = json_.get_bool(spelled(key), fallback);
  write(key, value);
  return value;
}

std::string ConfigReader::string(std::string_view key, const std::string& fallback) {
  std::string value = json_.get_string(spelled(key), fallback);
  write(key, value);
  return value;
}

bool ConfigReader::has(std::string_view key) { return json_.has(spelled(key)); }
bool ConfigReader::has_value(std::string_view key) { return json_.has_value(spelled(key)); }
core::JsonView ConfigReader::at(std::string_view key) { return json_.at(spelled(key)); }

void ConfigReader::write(std::string_view key, core::Json value) {
  written_[std::string(family_.spelling(key))] = std::move(value);
}

void ConfigReader::finish(DecoderConfig& config) {
  check_unread_keys(json_, asked_, config);
  config.unknown_keys.insert(config.unknown_keys.begin(), unknown_.begin(), unknown_.end());
  config.notes.insert(config.notes.begin(), notes_.begin(), notes_.end());
  config.family_keys = std::move(written_);
}

}  // namespace lowrank::models
