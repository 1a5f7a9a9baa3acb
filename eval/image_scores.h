// How well an image model tells classes apart.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/data/image_set.h"
#include "lowrank/eval/classification.h"
#include "lowrank/models/resnet/resnet.h"

namespace lowrank::eval {

struct ImageScores {
  double loss = 0;  // mean cross-entropy, nats a picture
  std::vector<double> losses;
  Classification scores;
};

/// Of pictures in their order.
struct ImageLosses {
  std::vector<double> losses;  // nats
  std::vector<std::int64_t> predicted;
};

/// score_images() computes in batches of so many.
inline constexpr std::int64_t kImageBatch = 64;

/// Those of pictures [begin, end), in batches from `begin` on; the model as it is, its batch norms with their running
/// statistics. `images` has the model's classes.
ImageLosses image_losses(models::ResNet& model, const data::ImageSet& images, std::int64_t begin, std::int64_t end,
                         core::ProgressObserver* progress = nullptr);
/// From what image_losses gave for all of `images`.
ImageScores image_scores(const data::ImageSet& images, const ImageLosses& all);

/// Both at once.
ImageScores score_images(models::ResNet& model, const data::ImageSet& images,
                         core::ProgressObserver* progress = nullptr);

/// The pictures at `indices` as the network takes them, fp32 [n, channels, height, width].
at::Tensor image_batch(const data::ImageSet& images, std::span<const std::uint32_t> indices);

}  // namespace lowrank::eval
