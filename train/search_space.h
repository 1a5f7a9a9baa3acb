// A space of options to search: dimensions with scales, some of which are there only for certain values of another.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/core/json.h"

namespace lowrank::train {

/// One option of the space.
struct Dimension {
  enum class Scale { kLog, kUniform, kChoice };
  std::string name;
  Scale scale = Scale::kChoice;
  double low = 0, high = 0;         // both included; of kLog and kUniform
  bool integer = false;             // values are rounded to whole numbers
  std::int64_t points = 0;          // of a grid over kLog or kUniform, ends included; 0: not given
  std::vector<core::Json> choices;  // of kChoice
  /// The option is there only while another has one of these values.
  std::optional<std::pair<std::string, std::vector<core::Json>>> when;
};

/// What a trial runs with: the dimensions that are there for it, in the order of the space.
using Assignment = std::vector<std::pair<std::string, core::Json>>;

class SearchSpace {
 public:
  /// Puts the dimensions behind those that they depend on. ConfigError (beginning with `where`) for an empty space, a
  /// name given twice, bounds that are not low < high (and low > 0 on a log scale), no choices, a condition on an
  /// option or a value that the space does not have (with the nearest), or conditions in a circle.
  SearchSpace(std::vector<Dimension> dimensions, const std::string& where);

  const std::vector<Dimension>& dimensions() const { return dimensions_; }
  /// Whether a dimension is there, given those before it.
  static bool active(const Dimension& dimension, const Assignment& before);
  /// The value at `place` in [0, 1) along the dimension's scale.
  static core::Json value_at(const Dimension& dimension, double place);
  /// Every combination, the last dimension fastest; a combination whose conditions leave dimensions out comes once.
  /// ConfigError for a continuous dimension without `points`, and for more than a million combinations.
  std::vector<Assignment> grid() const;

 private:
  std::vector<Dimension> dimensions_;
  std::string where_;
};

/// The value of a dimension in an assignment; null where it is not there.
const core::Json* value_of(const Assignment& assignment, const std::string& name);

}  // namespace lowrank::train
