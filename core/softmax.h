// Softmax over the program's own numbers; those over tensors are in kernels/.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

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

/// Probabilities that sum to 1, in double.
template <typename T>
std::vector<double> softmax(std::span<const T> scores) {
  const auto largest = static_cast<double>(*std::max_element(scores.begin(), scores.end()));
  std::vector<double> result(scores.size());
  double sum = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) sum += result[i] = std::exp(static_cast<double>(scores[i]) - largest);
  for (double& p : result) p /= sum;
  return result;
}

}  // namespace lowrank::core
