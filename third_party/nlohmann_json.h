// nlohmann's JSON as the precompiled headers have it: without nlohmann::json, whose literals (operator""_json) make g++ go
// through a whole parser in every file that includes the header, used or not: a third of a second of each. lowrank's own type is
// nlohmann::ordered_json. A file that needs nlohmann::json is compiled without the precompiled header.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace nlohmann {

template <>
class basic_json<> {
 public:
  using json_pointer = nlohmann::json_pointer<std::string>;
  static basic_json parse(const char* begin, const char* end);  // declared for the literals; nobody calls it
};

}  // namespace nlohmann

#include <nlohmann/json.hpp>
