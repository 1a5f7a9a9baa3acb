// Line charts as inline SVG that a style sheet colours.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lowrank::eval {

struct Curve {
  std::string name;
  std::vector<std::pair<double, double>> points;  // in order of x; those that are not finite are left out
  bool marks = false;                             // a dot at every point (evaluations)
  bool line = true;                               // the points joined
};

struct Chart {
  std::string title, x_label, y_label;
  std::vector<Curve> curves;
};

/// <figure> with the SVG and a legend; classes: axis, grid, curve, mark, c0 … c5. Curves of more than 400 points are
/// drawn as the means of equal runs of points, which the legend says. Nothing where there is no point.
std::string chart_html(const Chart& chart);

/// Parallel coordinates (Inselberg 1985): options of many runs, and what came of each.
struct ParallelChart {
  struct Axis {
    std::string name;
    std::vector<std::pair<double, std::string>> ticks;  // place from 0 to 1, label
  };
  struct Run {
    std::vector<std::optional<double>> places;  // an axis each, from 0 to 1; none: the run has no such option
    std::optional<double> value;                // less is better; none: the run failed
  };
  std::string title, note;
  std::vector<Axis> axes;
  std::vector<Run> runs;
};

/// <figure> with the axes one below the other, so that a phone has room for their names; a run is a line down across
/// them, coloured by the fifth its value is in (classes v0, the least, to v4; v5: failed), the best drawn last. A line
/// ends and begins again around an axis that its run does not have. Nothing without axes or runs.
std::string chart_html(const ParallelChart& chart);

/// About `count` round numbers (1, 2 or 5 times a power of ten) within [low, high].
std::vector<double> round_ticks(double low, double high, int count);

}  // namespace lowrank::eval
