// "1 document", "2,000 documents".
#pragma once

#include <cstdint>
#include <string>

#include "lowrank/core/text.h"

namespace lowrank::core {

/// A count with its noun, which takes an s where it is not one.
inline std::string counted(std::int64_t n, const std::string& noun) {
  return format_count(n) + " " + noun + (n == 1 ? "" : "s");
}

}  // namespace lowrank::core
