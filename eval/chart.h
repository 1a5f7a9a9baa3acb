// Line charts as inline SVG that a style sheet colours.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace lowrank::eval {

struct Curve {
  std::string name;
  std::vector<std::pair<double, double>> points;  // in order of x; those that are not finite are left out
  bool marks = false;                             // a dot at every point (evaluations)
};

struct Chart {
  std::string title, x_label, y_label;
  std::vector<Curve> curves;
};

/// <figure> with the SVG and a legend; classes: axis, grid, curve, mark, c0 … c5. Curves of more than 400 points are
/// drawn as the means of equal runs of points, which the legend says. Nothing where there is no point.
std::string chart_html(const Chart& chart);

/// About `count` round numbers (1, 2 or 5 times a power of ten) within [low, high].
std::vector<double> round_ticks(double low, double high, int count);

}  // namespace lowrank::eval
