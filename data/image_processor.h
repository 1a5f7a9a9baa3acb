// What is done to a picture before an image model sees it: preprocessor_config.json of the Hugging Face layout.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/image.h"
#include "lowrank/data/image_resize.h"

namespace lowrank::data {

/// As transformers' ConvNextImageProcessor (which ResNets carry) and ViTImageProcessor with their Pillow backends.
struct ImageProcessor {
  bool do_resize = true;
  std::optional<std::int64_t> shortest_edge;  // else width and height
  std::int64_t width = 0, height = 0;
  /// With shortest_edge below 384: resized to shortest_edge / crop_pct, then its middle; from 384 on resized to a
  /// square. Nothing: the picture keeps its proportions.
  std::optional<double> crop_pct;
  Resample resample = Resample::kBicubic;
  bool do_center_crop = false;
  std::int64_t crop_width = 0, crop_height = 0;
  bool do_rescale = true, do_normalize = true;
  double rescale_factor = 1 / 255.0;
  std::vector<double> image_mean, image_std;  // one a channel, or one for all
  std::string origin;                         // where this comes from, in words

  /// Resized and cropped, still bytes. DataError where the picture is smaller than the crop, or far too long and thin.
  Image shape(const Image& image) const;
  /// The network's input for each of the 256 values of a channel, in fp32.
  std::vector<float> values(std::int64_t channel) const;
};

/// Defaults of keys that are missing are the class's. FormatError for wrong values, ModelError for another class of
/// processor, a filter that is not supported, means that do not fit the channels.
ImageProcessor parse_image_processor(const core::JsonView& json, std::int64_t channels);

/// preprocessor_config.json of a model's folder; without one, what Microsoft's ResNets have: the middle 224 x 224 of
/// the picture at 256, bicubic, ImageNet's means (gray: 0.5).
ImageProcessor read_image_processor(const std::filesystem::path& model, std::int64_t channels);

/// As a preprocessor_config.json that transformers reads to the same effect.
std::string image_processor_json(const ImageProcessor& processor);

}  // namespace lowrank::data
