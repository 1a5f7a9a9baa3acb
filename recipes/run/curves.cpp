#include "lowrank/recipes/run/curves.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/files.h"
#include "lowrank/core/json.h"

namespace lowrank::recipes {

namespace {

eval::Curve& curve_of(Curves& curves, const std::string& split) {
  const auto it = std::find_if(curves.evaluations.begin(), curves.evaluations.end(),
                               [&](const auto& c) { return c.name == split; });
  return it != curves.evaluations.end() ? *it : curves.evaluations.emplace_back(eval::Curve{split, {}, true});
}

}  // namespace

const eval::Curve* Curves::evaluation(const std::string& split) const {
  const auto it =
      std::find_if(evaluations.begin(), evaluations.end(), [&](const auto& curve) { return curve.name == split; });
  return it == evaluations.end() ? nullptr : &*it;
}

Curves read_curves(const std::filesystem::path& file) {
  const std::string text = core::read_file(file);
  Curves curves;
  std::int64_t line = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string where = fmt::format("{} line {}", file.string(), ++line);
    const core::Json row = core::parse_json(std::string_view(text).substr(begin, end - begin), where);
    const core::JsonView view(row, where);
    begin = end + 1;
    if (!view.has_value("step")) continue;
    const double step = view.at("step").as_double();
    if (view.has_value("eval_loss")) {
      curve_of(curves, view.get_string("split", "validation"))
          .points.emplace_back(step, view.at("eval_loss").as_double());
    } else if (view.has_value("loss")) {
      curves.loss.points.emplace_back(step, view.at("loss").as_double());
      if (view.has_value("lr")) curves.rate.points.emplace_back(step, view.at("lr").as_double());
      if (view.has_value("objective/rlhf_reward"))
        curves.reward.points.emplace_back(step, view.at("objective/rlhf_reward").as_double());
    }
  }
  return curves;
}

}  // namespace lowrank::recipes
