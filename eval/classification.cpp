#include "lowrank/eval/classification.h"

#include <fmt/format.h>

#include <cmath>

#include "lowrank/core/error.h"

namespace lowrank::eval {
namespace {

double ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

}  // namespace

Classification classification(const std::vector<std::int64_t>& truth, const std::vector<std::int64_t>& predicted,
                              std::int64_t classes) {
  if (truth.empty()) throw DataError("there is nothing to score: the set of examples is empty");
  if (truth.size() != predicted.size())
    throw DataError(fmt::format("{} classes and {} predictions cannot be compared", truth.size(), predicted.size()));
  const auto count = static_cast<std::size_t>(classes);
  Classification result;
  result.examples = static_cast<std::int64_t>(truth.size());
  result.confusion.assign(count, std::vector<std::int64_t>(count, 0));
  for (std::size_t i = 0; i < truth.size(); ++i) {
    for (const std::int64_t number : {truth[i], predicted[i]})
      if (number < 0 || number >= classes)
        throw DataError(fmt::format("example {} has the class {}; there are {} classes, from 0", i, number, classes));
    ++result.confusion[static_cast<std::size_t>(truth[i])][static_cast<std::size_t>(predicted[i])];
  }

  const auto all = static_cast<double>(result.examples);
  double right = 0, together = 0, truths = 0, predictions = 0, f1 = 0;
  std::int64_t occur = 0;
  for (std::size_t k = 0; k < count; ++k) {
    std::int64_t of_class = 0, as_class = 0;
    for (std::size_t j = 0; j < count; ++j) {
      of_class += result.confusion[k][j];
      as_class += result.confusion[j][k];
    }
    const auto hit = static_cast<double>(result.confusion[k][k]), t = static_cast<double>(of_class),
               p = static_cast<double>(as_class);
    result.classes.push_back({ratio(hit, p), ratio(hit, t), ratio(2 * hit, t + p), of_class});
    right += hit;
    together += t * p;
    truths += t * t;
    predictions += p * p;
    if (of_class + as_class == 0) continue;
    ++occur;
    f1 += result.classes.back().f1;
  }
  result.accuracy = right / all;
  result.macro_f1 = f1 / static_cast<double>(occur);
  result.matthews = ratio(right * all - together, std::sqrt((all * all - truths) * (all * all - predictions)));
  return result;
}

}  // namespace lowrank::eval
