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
  Classification scores;
};

/// The model as it is, its batch norms with their running statistics. `images` has the model's classes.
ImageScores score_images(models::ResNet& model, const data::ImageSet& images,
                         core::ProgressObserver* progress = nullptr);

/// The pictures at `indices` as the network takes them, fp32 [n, channels, height, width].
at::Tensor image_batch(const data::ImageSet& images, std::span<const std::uint32_t> indices);

}  // namespace lowrank::eval
