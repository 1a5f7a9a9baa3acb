#include "lowrank/data/example.h"

#include <algorithm>

namespace lowrank::data {

std::int64_t Example::counted() const {
  if (known_counted >= 0) return known_counted;
  if (learned.empty()) return 0;
  return std::count_if(learned.begin() + 1, learned.end(), [](std::uint8_t one) { return one != 0; });
}

}  // namespace lowrank::data
