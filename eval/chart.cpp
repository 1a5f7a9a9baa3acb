#include "lowrank/eval/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowrank/eval/html.h"

namespace lowrank::eval {
namespace {

// Of the drawing, in its own units: a phone shows them as they are.
constexpr double kWidth = 380, kHeight = 220, kLeft = 52, kRight = 8, kTop = 10, kBottom = 36;
constexpr std::size_t kMostPoints = 400;
constexpr std::size_t kColours = 6;

struct Range {
  double low = 0, high = 0;
  void widen() {
    if (high > low) return;
    const double by = low == 0 ? 1 : 0.1 * std::abs(low);
    low -= by;
    high += by;
  }
};

/// Finite points, no more than kMostPoints: means of runs of `run` points.
std::vector<std::pair<double, double>> drawable(const Curve& curve, std::size_t& run) {
  std::vector<std::pair<double, double>> finite, drawn;
  for (const auto& point : curve.points) {
    if (std::isfinite(point.first) && std::isfinite(point.second)) finite.push_back(point);
  }
  run = (finite.size() + kMostPoints - 1) / kMostPoints;
  if (run <= 1) return finite;
  for (std::size_t begin = 0; begin < finite.size(); begin += run) {
    const std::size_t end = std::min(begin + run, finite.size());
    double x = 0, y = 0;
    for (std::size_t i = begin; i < end; ++i) {
      x += finite[i].first;
      y += finite[i].second;
    }
    const auto n = static_cast<double>(end - begin);
    drawn.emplace_back(x / n, y / n);
  }
  return drawn;
}

class Drawing {
 public:
  Drawing(Range x, Range y) : x_(x), y_(y) {}

  std::string at_x(double x) const {
    return fmt::format("{:.1f}", kLeft + (x - x_.low) / (x_.high - x_.low) * (kWidth - kLeft - kRight));
  }
  std::string at_y(double y) const {
    return fmt::format("{:.1f}", kHeight - kBottom - (y - y_.low) / (y_.high - y_.low) * (kHeight - kTop - kBottom));
  }

  std::string axes(const Chart& chart) const {
    const double bottom = kHeight - kBottom;
    std::string svg;
    for (const double y : round_ticks(y_.low, y_.high, 5)) {
      svg += fmt::format("<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>", kLeft, kWidth - kRight,
                         at_y(y), at_y(y));
      svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\" dominant-baseline=\"middle\">{:.4g}</text>",
                         kLeft - 5, at_y(y), y);
    }
    for (const double x : round_ticks(x_.low, x_.high, 5)) {
      svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{:.6g}</text>", at_x(x), bottom + 14, x);
    }
    svg += fmt::format("<path class=\"axis\" d=\"M{} {}V{}H{}\"/>", kLeft, kTop, bottom, kWidth - kRight);
    svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", kWidth - kRight, kHeight - 6,
                       html_escape(chart.x_label));
    svg += fmt::format("<text x=\"2\" y=\"{}\">{}</text>", kHeight - 6, html_escape(chart.y_label));
    return svg;
  }

  std::string curve(const std::vector<std::pair<double, double>>& points, const Curve& as, std::size_t colour) const {
    std::string path, dots;
    for (const auto& [x, y] : points) {
      path += fmt::format("{}{} {}", path.empty() ? "M" : "L", at_x(x), at_y(y));
      if (as.marks)
        dots += fmt::format("<circle class=\"mark c{}\" r=\"2.5\" cx=\"{}\" cy=\"{}\"/>", colour, at_x(x), at_y(y));
    }
    if (!as.line) return dots;
    return fmt::format("<path class=\"curve c{}\" d=\"{}\"/>", colour, path) + dots;
  }

 private:
  Range x_, y_;
};

}  // namespace

std::vector<double> round_ticks(double low, double high, int count) {
  std::vector<double> ticks;
  if (!(high > low) || count < 1) return ticks;
  const double rough = (high - low) / count, power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) {
      step = factor * power;
      break;
    }
  }
  for (double i = std::ceil(low / step); i * step <= high; ++i) ticks.push_back(i == 0 ? 0 : i * step);
  return ticks;
}

std::string chart_html(const Chart& chart) {
  std::vector<std::vector<std::pair<double, double>>> curves;
  std::vector<std::size_t> runs;
  Range x{INFINITY, -INFINITY}, y{INFINITY, -INFINITY};
  for (const Curve& curve : chart.curves) {
    curves.push_back(drawable(curve, runs.emplace_back()));
    for (const auto& [px, py] : curves.back()) {
      x = {std::min(x.low, px), std::max(x.high, px)};
      y = {std::min(y.low, py), std::max(y.high, py)};
    }
  }
  if (!(x.high >= x.low)) return "";
  x.widen();
  y.widen();
  const Drawing drawing(x, y);
  std::string lines, legend;
  for (std::size_t i = 0; i < curves.size(); ++i) {
    if (curves[i].empty()) continue;
    lines += drawing.curve(curves[i], chart.curves[i], i % kColours);
    const std::string means = runs[i] > 1 ? fmt::format(" (means of {})", runs[i]) : "";
    legend +=
        fmt::format("<span><i class=\"c{}\"></i>{}{}</span> ", i % kColours, html_escape(chart.curves[i].name), means);
  }
  const std::string title = html_escape(chart.title);
  return fmt::format(
      "<figure><h3>{}</h3><svg viewBox=\"0 0 {} {}\" role=\"img\" "
      "aria-label=\"{}\">{}{}</svg><figcaption>{}</figcaption></figure>\n",
      title, kWidth, kHeight, title, drawing.axes(chart), lines, legend);
}

}  // namespace lowrank::eval
