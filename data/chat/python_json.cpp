#include "lowrank/data/chat/python_json.h"

namespace lowrank::data {

std::string python_json(const core::Json& value) {
  if (!value.is_structured()) return value.dump(-1, ' ', false, core::Json::error_handler_t::replace);
  std::string out = value.is_array() ? "[" : "{";
  bool first = true;
  for (const auto& item : value.items()) {
    if (!first) out += ", ";
    first = false;
    if (value.is_object()) out += core::Json(item.key()).dump() + ": ";
    out += python_json(item.value());
  }
  return out + (value.is_array() ? "]" : "}");
}

}  // namespace lowrank::data
