#include "lowrank/apps/console/block_curve.h"

#include <cmath>

#include "catch.h"

using lowrank::apps::block_curve;

TEST_CASE("a curve in blocks: its ends on the axis, falling to the right, blank where nothing was yet", "[live]") {
  std::vector<std::pair<double, double>> points;
  for (int i = 0; i < 50; ++i) points.emplace_back(i / 100.0, 5.0 - 0.02 * i);
  const std::vector<std::string> lines = block_curve(points, 109, 3);
  REQUIRE(lines.size() == 3);
  CHECK(lines[0].starts_with("  5.0000 █"));
  CHECK(lines[2].starts_with("  4.0200 █"));
  // Fifty of a hundred columns are drawn; the last has an eighth of the lowest line.
  CHECK(lines[2].ends_with("▁" + std::string(50, ' ')));
  CHECK(lines[0].ends_with(std::string(60, ' ')));
}

TEST_CASE("a curve of few points fills the columns between them, and what is no number leaves a gap out", "[live]") {
  const std::vector<std::string> lines = block_curve({{0.0, 1.0}, {0.25, NAN}, {0.5, 0.0}}, 17, 1);
  CHECK(lines == std::vector<std::string>{"  1.0000 ████▁   "});
  CHECK(block_curve({}, 12, 2) == std::vector<std::string>(2, std::string(12, ' ')));
  CHECK(block_curve({{0.0, 2.0}}, 11, 1) == std::vector<std::string>{"  2.0000 ▁ "});
}
