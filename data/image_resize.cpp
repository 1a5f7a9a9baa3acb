#include "lowrank/data/image_resize.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "lowrank/data/image_codecs.h"

namespace lowrank::data {
namespace {

constexpr int kBits = 22;  // of the weights' fraction: 8-bit sums of them fit an int

double sinc(double x) { return x == 0 ? 1 : std::sin(std::numbers::pi * x) / (std::numbers::pi * x); }

double support_of(Resample filter) { return filter == Resample::kBilinear ? 1 : filter == Resample::kBicubic ? 2 : 3; }

double weight_at(Resample filter, double x) {
  x = std::abs(x);
  if (x >= support_of(filter)) return 0;
  if (filter == Resample::kBilinear) return 1 - x;
  if (filter == Resample::kLanczos) return sinc(x) * sinc(x / 3);
  constexpr double a = -0.5;  // Keys 1981
  return x < 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : (((x - 5) * x + 8) * x - 4) * a;
}

/// What one output pixel takes: `weights` of the input from `first` on.
struct Window {
  std::int64_t first = 0;
  std::vector<int> weights;
};

std::vector<Window> windows(std::int64_t from, std::int64_t to, Resample filter) {
  const double scale = static_cast<double>(from) / static_cast<double>(to), stretch = std::max(scale, 1.0);
  const double reach = support_of(filter) * stretch;
  std::vector<Window> result(static_cast<std::size_t>(to));
  std::vector<double> weights;
  for (std::int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<std::int64_t>(0, static_cast<std::int64_t>(center - reach + 0.5));
    const auto last = std::min<std::int64_t>(from, static_cast<std::int64_t>(center + reach + 0.5));
    weights.clear();
    double sum = 0;
    for (std::int64_t x = first; x < last; ++x) {
      weights.push_back(weight_at(filter, (static_cast<double>(x) - center + 0.5) * (1 / stretch)));
      sum += weights.back();
    }
    Window& window = result[static_cast<std::size_t>(i)];
    window.first = first;
    for (double w : weights) {
      if (sum != 0) w *= 1 / sum;
      window.weights.push_back(static_cast<int>((w < 0 ? -0.5 : 0.5) + w * (1 << kBits)));
    }
  }
  return result;
}

/// `count` lines; in a line, pixels of the input are `step` bytes apart and the lines `stride`.
struct Lines {
  std::size_t count, step, stride;
};

void pass(const std::uint8_t* in, Lines from, std::uint8_t* out, Lines to, const std::vector<Window>& all) {
  for (std::size_t line = 0; line < from.count; ++line) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Window& window = all[i];
      const std::uint8_t* p = in + line * from.stride + static_cast<std::size_t>(window.first) * from.step;
      int sum = 1 << (kBits - 1);
      for (const int weight : window.weights) {
        sum += *p * weight;
        p += from.step;
      }
      out[line * to.stride + i * to.step] = static_cast<std::uint8_t>(std::clamp(sum >> kBits, 0, 255));
    }
  }
}

}  // namespace

Image resize(const Image& image, std::int64_t width, std::int64_t height, Resample filter) {
  check_dimensions(width, height, "after resizing");
  check_dimensions(width, image.height, "between resizing columns and rows");
  if (width == image.width && height == image.height) return image;
  const auto c = static_cast<std::size_t>(image.channels), w0 = static_cast<std::size_t>(image.width),
             h0 = static_cast<std::size_t>(image.height), w1 = static_cast<std::size_t>(width),
             h1 = static_cast<std::size_t>(height);
  Image wide = image;
  if (w1 != w0) {
    wide.width = width;
    wide.pixels.assign(w1 * h0 * c, 0);
    const std::vector<Window> columns = windows(image.width, width, filter);
    for (std::size_t k = 0; k < c; ++k)
      pass(image.pixels.data() + k, {h0, c, w0 * c}, wide.pixels.data() + k, {h0, c, w1 * c}, columns);
  }
  if (h1 == h0) return wide;
  Image result{width, height, image.channels, std::vector<std::uint8_t>(w1 * h1 * c)};
  const std::vector<Window> rows = windows(image.height, height, filter);
  pass(wide.pixels.data(), {w1 * c, w1 * c, 1}, result.pixels.data(), {w1 * c, w1 * c, 1}, rows);
  return result;
}

}  // namespace lowrank::data
