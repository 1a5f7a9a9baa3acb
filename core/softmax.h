// What softmaxes over the program's own numbers are made of; those over tensors are in kernels/.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

namespace lowrank::core {

/// The largest of some scores (not empty), and Σ exp((x − largest) / temperature) over them in their order, in double:
/// log softmax is (x − largest) / temperature − log(sum).
struct ExpSum {
  double largest = 0, sum = 0;
};
template <typename T>
ExpSum exp_sum(std::span<const T> scores, double temperature = 1) {
  ExpSum result{static_cast<double>(*std::max_element(scores.begin(), scores.end())), 0};
  for (const T x : scores) result.sum += std::exp((static_cast<double>(x) - result.largest) / temperature);
  return result;
}

}  // namespace lowrank::core
