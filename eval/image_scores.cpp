#include "lowrank/eval/image_scores.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <numeric>

#include "lowrank/kernels/class_loss.h"
#include "lowrank/kernels/host.h"

namespace lowrank::eval {
namespace {

constexpr std::int64_t kBatch = 64;

}  // namespace

at::Tensor image_batch(const data::ImageSet& images, std::span<const std::uint32_t> indices) {
  const std::vector<std::int64_t> shape{static_cast<std::int64_t>(indices.size()), images.channels, images.height,
                                        images.width};
  std::vector<float> pixels(static_cast<std::size_t>(c10::multiply_integers(shape)));
  images.fill(indices, pixels.data());
  return kernels::from_host<float>(pixels, shape);
}

ImageScores score_images(models::ResNet& model, const data::ImageSet& images, core::ProgressObserver* progress) {
  const at::NoGradGuard no_grad;
  if (progress != nullptr) progress->begin("classifying", images.size(), "pictures");
  std::vector<std::uint32_t> all(images.labels.size());
  std::iota(all.begin(), all.end(), 0U);
  std::vector<std::int64_t> predicted;
  double total = 0;
  for (std::int64_t begin = 0; begin < images.size(); begin += kBatch) {
    const auto first = static_cast<std::size_t>(begin);
    const std::size_t count = std::min<std::size_t>(kBatch, all.size() - first);
    const at::Tensor logits = model.logits(image_batch(images, std::span(all).subspan(first, count)));
    const kernels::ClassLoss found = kernels::class_loss(logits, std::span(images.labels).subspan(first, count));
    total = std::accumulate(found.losses.begin(), found.losses.end(), total);
    predicted.insert(predicted.end(), found.predicted.begin(), found.predicted.end());
    if (progress != nullptr) progress->advance(static_cast<std::int64_t>(predicted.size()));
  }
  if (progress != nullptr) progress->end();
  return {total / static_cast<double>(images.size()),
          classification(images.labels, predicted, static_cast<std::int64_t>(images.classes.size()))};
}

}  // namespace lowrank::eval
