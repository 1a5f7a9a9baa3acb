// Pictures of classes, ready for an image model.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/data/image_files.h"
#include "lowrank/data/image_processor.h"

namespace lowrank::data {

/// All of one size, as bytes in memory; what the network sees is made of them batch by batch.
struct ImageSet {
  std::int64_t channels = 0, height = 0, width = 0;
  std::vector<std::uint8_t> pixels;  // [n, channels, height, width]
  std::vector<std::int64_t> labels;  // [n], numbers of `classes`
  std::vector<std::string> names;    // [n], the files
  std::vector<std::string> classes;
  std::vector<std::vector<float>> values;  // [channels][256]: the network's input for a byte
  std::string format, sha256;              // how the files came; hash of files' bytes and labels, in order
  std::vector<std::string> notes;

  std::int64_t size() const { return static_cast<std::int64_t>(labels.size()); }
  /// Pictures of each class.
  std::vector<std::int64_t> support() const;
  /// The network's input [indices, channels, height, width] into `out`.
  void fill(std::span<const std::uint32_t> indices, float* out) const;
  /// These pictures alone.
  ImageSet subset(const std::vector<std::uint32_t>& indices) const;
};

/// Decodes and shapes every picture. DataError naming the file for one that cannot be read, one whose class is not
/// among `classes` (with the nearest), sizes that differ after shaping.
ImageSet load_images(const ImageFiles& files, const std::vector<std::string>& classes, const ImageProcessor& processor,
                     std::int64_t channels, core::ProgressObserver* progress = nullptr);

struct ImageSplit {
  ImageSet train, validation;
  std::string how;
};
/// Of each class a seeded share, rounded to whole pictures, is held out.
ImageSplit split_images(const ImageSet& all, double fraction, std::uint64_t seed);

}  // namespace lowrank::data
