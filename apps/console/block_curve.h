// A curve in block characters.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace lowrank::apps {

/// `height` lines of `width` columns, the area below the means of `points` (where from 0 to 1, value); each line begins
/// with its place on the axis: the largest mean above, the smallest below. Columns without a point, between two that
/// have some, take the left one's; to the right of the last they are blank.
std::vector<std::string> block_curve(const std::vector<std::pair<double, double>>& points, std::size_t width,
                                     std::size_t height);

}  // namespace lowrank::apps
