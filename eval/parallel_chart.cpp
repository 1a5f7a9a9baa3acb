#include <fmt/format.h>

#include <algorithm>

#include "lowrank/eval/chart.h"
#include "lowrank/eval/html.h"

namespace lowrank::eval {
namespace {

// In the drawing's own units, as in chart.cpp.
constexpr double kWidth = 380, kLeft = 14, kRight = 14, kTop = 22, kStep = 56;
constexpr std::size_t kFifths = 5;

double at_x(double place) { return kLeft + std::clamp(place, 0.0, 1.0) * (kWidth - kLeft - kRight); }
double at_y(std::size_t axis) { return kTop + kStep * static_cast<double>(axis); }

std::string axis_svg(const ParallelChart::Axis& axis, std::size_t number) {
  const double y = at_y(number);
  std::string svg = fmt::format("<text x=\"{}\" y=\"{}\">{}</text>", kLeft - 10, y - 8, html_escape(axis.name));
  svg += fmt::format("<path class=\"axis\" d=\"M{} {}H{}\"/>", kLeft, y, kWidth - kRight);
  for (const auto& [place, label] : axis.ticks) {
    const char* anchor = place < 0.1 ? "start" : place > 0.9 ? "end" : "middle";
    const double x = at_x(place), text = place < 0.1 ? kLeft - 10 : place > 0.9 ? kWidth - kRight + 10 : x;
    svg += fmt::format("<path class=\"axis\" d=\"M{:.1f} {}v4\"/>", x, y);
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"{}\">{}</text>", text, y + 15, anchor,
                       html_escape(label));
  }
  return svg;
}

std::string run_svg(const ParallelChart::Run& run, std::size_t fifth) {
  std::string path;
  bool drawing = false;
  for (std::size_t i = 0; i < run.places.size(); ++i) {
    if (!run.places[i]) {
      drawing = false;
      continue;
    }
    path += fmt::format("{}{:.1f} {}", drawing ? "L" : "M", at_x(*run.places[i]), at_y(i));
    // A point that no line leaves is still seen.
    if (!drawing && (i + 1 == run.places.size() || !run.places[i + 1])) path += "h0.01";
    drawing = true;
  }
  return fmt::format("<path class=\"run v{}\" d=\"{}\"/>", fifth, path);
}

}  // namespace

std::string chart_html(const ParallelChart& chart) {
  if (chart.axes.empty() || chart.runs.empty()) return "";
  std::vector<const ParallelChart::Run*> order;
  for (const auto& run : chart.runs) order.push_back(&run);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    if (!a->value || !b->value) return a->value.has_value() && !b->value;
    return *a->value < *b->value;
  });
  std::size_t valued = 0;
  for (const auto* run : order) valued += run->value ? 1 : 0;

  std::string svg;
  for (std::size_t i = 0; i < chart.axes.size(); ++i) svg += axis_svg(chart.axes[i], i);
  for (std::size_t i = order.size(); i-- > 0;)
    svg += run_svg(*order[i], order[i]->value ? i * kFifths / valued : kFifths);
  const std::string title = html_escape(chart.title);
  std::string legend = "<span><i class=\"v0\"></i>best fifth</span> <span><i class=\"v4\"></i>worst fifth</span> ";
  if (valued < order.size()) legend += "<span><i class=\"v5\"></i>failed</span> ";
  return fmt::format(
      "<figure><h3>{}</h3><svg viewBox=\"0 0 {} {}\" role=\"img\" "
      "aria-label=\"{}\">{}</svg><figcaption>{}{}</figcaption></figure>\n",
      title, kWidth, at_y(chart.axes.size() - 1) + 24, title, svg, legend, html_escape(chart.note));
}

}  // namespace lowrank::eval
