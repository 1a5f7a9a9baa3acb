// Base64, as tokenizer files hold bytes.
#pragma once

#include <string>
#include <string_view>

#include "lowrank/core/json.h"

namespace lowrank::data {

/// FormatError naming `where` for another character.
std::string decode_base64(std::string_view text, const std::string& where);
inline std::string decode_base64(const core::JsonView& json) { return decode_base64(json.as_string(), json.where()); }

}  // namespace lowrank::data
