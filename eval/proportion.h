// A share with its confidence interval.
#pragma once

#include <cstdint>

namespace lowrank::eval {

struct Proportion {
  double share = 0, low = 0, high = 1;  // 95 % confidence
};

/// `hits` of `trials` (none: share 0, any value possible), by Wilson's score interval (Wilson 1927).
Proportion proportion(std::int64_t hits, std::int64_t trials);

}  // namespace lowrank::eval
