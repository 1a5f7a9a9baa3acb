#include "lowrank/data/chat/python_json.h"
#include "lowrank/core/json_text.h"

namespace lowrank::data {

std::string python_json(const core::Json& value) {
  if (!value.is_structured()) return core::json_text(value);
  std::string out = value.is_array() ? "[" : "{";
  bool first = true;
  for (const auto& item : value.items()) {
    if (!first) out += ", ";
    first = false;
    if (value.is_object()) out += core::json_text(core::Json(item.key())) + ": ";
    out += python_json(item.value());
  }
  return out + (value.is_array() ? "]" : "}");
}

}  // namespace lowrank::data
