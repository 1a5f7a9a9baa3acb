#include "lowrank/core/json_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::core {

namespace {

/// The first text in a value that is not UTF-8.
const std::string* broken_text(const Json& value) {
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    return find_invalid_utf8(text) == std::string::npos ? nullptr : &text;
  }
  const std::string* found = nullptr;
  if (value.is_structured()) {
    std::any_of(value.begin(), value.end(), [&](const Json& part) { return (found = broken_text(part)) != nullptr; });
  }
  return found;
}

}  // namespace

std::string json_text(const Json& value, int indent) { return value.dump(indent, ' ', false, Json::error_handler_t::replace); }

std::string json_ascii(const Json& value, int indent) { return value.dump(indent, ' ', true, Json::error_handler_t::replace); }

void check_utf8(const Json& options) {
  for (const auto& [key, value] : options.items()) {
    if (const std::string* const text = broken_text(value)) {
      throw ConfigError(fmt::format("{}: '{}' is not UTF-8, and JSON, where it is kept, holds nothing else; give one that is",
                                    key == "model" ? key : "`" + (key.starts_with("--") ? key.substr(2) : key) + "`", printable(*text)));
    }
  }
}

}  // namespace lowrank::core
