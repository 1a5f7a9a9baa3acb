#include "lowrank/data/example.h"

namespace lowrank::data {

std::int64_t Example::counted() const {
  if (known_counted >= 0) return known_counted;
  std::int64_t n = 0;
  for (std::size_t i = 1; i < learned.size(); ++i) n += learned[i] != 0;
  return n;
}

}  // namespace lowrank::data
