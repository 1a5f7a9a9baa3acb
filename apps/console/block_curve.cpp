#include "lowrank/apps/console/block_curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace lowrank::apps {

namespace {

constexpr std::size_t kLabel = 9;   // "  3.8214 "
constexpr int kEighths = 8;         // of a character's height

/// The mean of each column; NaN to the right of the last point.
std::vector<double> columns_of(const std::vector<std::pair<double, double>>& points, std::size_t columns) {
  std::vector<double> sums(columns, 0), counts(columns, 0);
  std::size_t last = 0;
  for (const auto& [where, value] : points) {
    if (!std::isfinite(value)) continue;
    const auto column = std::min(columns - 1, static_cast<std::size_t>(std::clamp(where, 0.0, 1.0) * static_cast<double>(columns)));
    sums[column] += value;
    counts[column] += 1;
    last = std::max(last, column + 1);
  }
  std::vector<double> means(columns, std::nan(""));
  for (std::size_t i = 0; i < last; ++i) {
    means[i] = counts[i] > 0 ? sums[i] / counts[i] : i > 0 ? means[i - 1] : std::nan("");
  }
  return means;
}

}  // namespace

std::vector<std::string> block_curve(const std::vector<std::pair<double, double>>& points, std::size_t width,
                                     std::size_t height) {
  static const char* const kBlocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const std::size_t columns = width > kLabel + 1 ? width - kLabel : 1;
  const std::vector<double> means = columns_of(points, columns);
  double low = INFINITY, high = -INFINITY;
  for (const double mean : means) {
    if (std::isnan(mean)) continue;
    low = std::min(low, mean);
    high = std::max(high, mean);
  }
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < height; ++i) {
    const int below = static_cast<int>(height - 1 - i) * kEighths;
    std::string line = std::string(kLabel, ' ');
    if (std::isfinite(low) && i == 0) line = fmt::format("{:8.4f} ", high);
    if (std::isfinite(low) && i > 0 && i + 1 == height && high > low) line = fmt::format("{:8.4f} ", low);
    for (const double mean : means) {
      if (std::isnan(mean)) {
        line += ' ';
        continue;
      }
      const double share = high > low ? (mean - low) / (high - low) : 0;
      const int full = 1 + static_cast<int>(std::lround(share * static_cast<double>(height * kEighths - 1)));
      line += kBlocks[std::clamp(full - below, 0, kEighths)];
    }
    lines.push_back(line);
  }
  return lines;
}

}  // namespace lowrank::apps
