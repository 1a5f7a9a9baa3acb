#include "lowrank/eval/image_scores.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <numeric>

#include "lowrank/core/progress_scope.h"
#include "lowrank/kernels/class_loss.h"
#include "lowrank/kernels/host.h"

namespace lowrank::eval {
at::Tensor image_batch(const data::ImageSet& images, std::span<const std::uint32_t> indices) {
  const std::vector<std::int64_t> shape{static_cast<std::int64_t>(indices.size()), images.channels, images.height,
                                        images.width};
  std::vector<float> pixels(static_cast<std::size_t>(c10::multiply_integers(shape)));
  images.fill(indices, pixels.data());
  return kernels::from_host<float>(pixels, shape);
}

ImageLosses image_losses(models::ResNet& model, const data::ImageSet& images, std::int64_t begin, std::int64_t end,
                         core::ProgressObserver* progress) {
  const at::NoGradGuard no_grad;
  const core::ProgressScope scope(progress, "classifying", end - begin, "pictures");
  std::vector<std::uint32_t> all(images.labels.size());
  std::iota(all.begin(), all.end(), 0U);
  ImageLosses result;
  for (std::int64_t next = begin; next < end; next += kImageBatch) {
    const auto first = static_cast<std::size_t>(next);
    const auto count = static_cast<std::size_t>(std::min(kImageBatch, end - next));
    const at::Tensor logits = model.logits(image_batch(images, std::span(all).subspan(first, count)));
    const kernels::ClassLoss found = kernels::class_loss(logits, std::span(images.labels).subspan(first, count));
    result.losses.insert(result.losses.end(), found.losses.begin(), found.losses.end());
    result.predicted.insert(result.predicted.end(), found.predicted.begin(), found.predicted.end());
    scope.advance(static_cast<std::int64_t>(result.predicted.size()));
  }
  return result;
}

ImageScores image_scores(const data::ImageSet& images, const ImageLosses& all) {
  const double total = std::accumulate(all.losses.begin(), all.losses.end(), 0.0);
  return {total / static_cast<double>(images.size()), all.losses,
          classification(images.labels, all.predicted, static_cast<std::int64_t>(images.classes.size()))};
}

ImageScores score_images(models::ResNet& model, const data::ImageSet& images, core::ProgressObserver* progress) {
  return image_scores(images, image_losses(model, images, 0, images.size(), progress));
}

}  // namespace lowrank::eval
