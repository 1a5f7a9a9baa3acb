#include "lowrank/recipes/run/rate_report.h"

#include <cmath>

namespace lowrank::recipes {

eval::Chart rate_chart(const core::Json& test) {
  eval::Curve curve{"loss of the first batch", {}, true};
  const core::JsonView view(test, "lr_test");
  const core::JsonView points = view.at("points");
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (points.at(i).at("loss").raw().is_number())
      curve.points.emplace_back(std::log10(points.at(i).at("lr").as_double()), points.at(i).at("loss").as_double());
  }
  return {"Learning-rate test", "decimal logarithm of the rate", "loss", {curve}};
}

}  // namespace lowrank::recipes
