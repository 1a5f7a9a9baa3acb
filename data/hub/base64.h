// RFC 4648's base64.
#pragma once

#include <string>
#include <string_view>

namespace lowrank::data::hub {

std::string base64(std::string_view bytes);
/// With - and _ for + and /: part of a file's name.
std::string base64_of_name(std::string_view bytes);

}  // namespace lowrank::data::hub
