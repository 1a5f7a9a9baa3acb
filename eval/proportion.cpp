#include "lowrank/eval/proportion.h"

#include <cmath>

namespace lowrank::eval {

Proportion proportion(std::int64_t hits, std::int64_t trials) {
  if (trials == 0) return {};
  constexpr double kZ = 1.959963984540054;  // of the normal distribution at 0.975
  const auto n = static_cast<double>(trials);
  const double share = static_cast<double>(hits) / n;
  const double middle = (share + kZ * kZ / (2 * n)) / (1 + kZ * kZ / n);
  const double half = kZ / (1 + kZ * kZ / n) * std::sqrt(share * (1 - share) / n + kZ * kZ / (4 * n * n));
  return {share, middle - half, middle + half};
}

}  // namespace lowrank::eval
