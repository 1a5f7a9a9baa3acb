// Resizing with antialias, with Pillow's numbers: Image.resize of an 8-bit picture.
#pragma once

#include "lowrank/data/image.h"

namespace lowrank::data {

/// Pillow's Image.Resampling, by its numbers in preprocessor_config.json.
enum class Resample { kLanczos = 1, kBilinear = 2, kBicubic = 3 };

/// The picture at another size. Each output pixel is the filter's mean over the input, its support widened by the
/// factor that the picture shrinks by; columns first, then rows, each rounded to eight bits in between, weights in
/// fixed point with 22 bits: the same bytes as Pillow's. DataError where a side would not be within [1, kMaxPixels /
/// the other].
Image resize(const Image& image, std::int64_t width, std::int64_t height, Resample filter);

}  // namespace lowrank::data
