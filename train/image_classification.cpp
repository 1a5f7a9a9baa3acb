#include "lowrank/train/image_classification.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <numeric>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/kernels/class_loss.h"
#include "lowrank/kernels/host.h"

namespace lowrank::train {
namespace {

constexpr std::int64_t kBatch = eval::kImageBatch;
constexpr std::size_t kEstimated = 2048, kEstimateBatch = 64, kNamed = 8;

}  // namespace

ImageClassification::ImageClassification(Parts parts)
    : parts_(std::move(parts)),
      sync_(or_alone(parts_.sync)),
      plan_(std::vector<std::int64_t>(parts_.train.labels.size(), 1), dealt(parts_.plan, sync_)) {
  if ((parts_.method == ImageMethod::kLora) != (parts_.adapter != nullptr))
    throw InternalError("ImageClassification trains an adapter with kLora, and with kLora alone");
  parts_.model->use_batch_statistics(false);
  if (parts_.method == ImageMethod::kLora) return;
  for (auto& [name, tensor] : parts_.model->named_parameters())
    tensor.set_requires_grad(parts_.method == ImageMethod::kFull || name.starts_with("classifier."));
  if (parts_.method == ImageMethod::kHead) return;
  settled_ = start_ = weights_hash();
  for (const auto& [name, tensor] : parts_.model->named_buffers()) start_statistics_.push_back({name, tensor.clone()});
}

std::vector<lora::NamedTensor> ImageClassification::parameters() {
  if (parts_.adapter != nullptr) return parts_.adapter->named_parameters();
  std::vector<lora::NamedTensor> result;
  for (const lora::NamedTensor& parameter : parts_.model->named_parameters())
    if (parameter.tensor.requires_grad()) result.push_back(parameter);
  return result;
}

std::int64_t ImageClassification::micro_batches(std::int64_t step) const {
  return static_cast<std::int64_t>(plan_.micro_batches(step, sync_.rank()).size());
}

MicroLoss ImageClassification::forward(std::int64_t step, std::int64_t micro) {
  const std::vector<std::uint32_t> indices =
      plan_.micro_batches(step, sync_.rank()).at(static_cast<std::size_t>(micro));
  std::vector<std::int64_t> labels;
  for (const std::uint32_t i : indices) labels.push_back(parts_.train.labels[i]);
  const bool full = parts_.method == ImageMethod::kFull;
  if (parts_.adapter != nullptr) parts_.adapter->compose();
  if (full) {
    settled_.clear();
    parts_.model->use_batch_statistics(true);
  }
  const at::Tensor logits = parts_.model->logits(eval::image_batch(parts_.train, indices));
  if (full) parts_.model->use_batch_statistics(false);
  const kernels::ClassLoss found = kernels::class_loss(logits, labels, parts_.label_smoothing);
  const auto count = static_cast<std::int64_t>(indices.size());
  std::int64_t hits = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) hits += found.predicted[i] == labels[i] ? 1 : 0;
  // The product's sum has the losses' gradient in the logits; its own value means nothing and is not used.
  return {logits.mul(found.gradient).sum(),
          std::accumulate(found.losses.begin(), found.losses.end(), 0.0),
          count,
          count,
          {{"accuracy", static_cast<double>(hits)}}};
}

std::string ImageClassification::describe(std::int64_t step) const {
  std::string names;
  const auto& pictures = plan_.step(step).examples;
  for (std::size_t i = 0; i < std::min(kNamed, pictures.size()); ++i)
    names += (i > 0 ? ", " : "") + parts_.train.names[pictures[i]];
  return names + (pictures.size() > kNamed ? ", ..." : "");
}

std::vector<EvalResult> ImageClassification::evaluate() {
  std::vector<EvalResult> results;
  for (const auto& [split, found] : scores()) {
    results.push_back({split,
                       found.loss,
                       found.scores.examples,
                       {{"accuracy", found.scores.accuracy},
                        {"macro_f1", found.scores.macro_f1},
                        {"matthews", found.scores.matthews}}});
    for (const double loss : found.losses) results.back().units.push_back({loss, 1});
  }
  return results;
}

bool ImageClassification::has_validation() const {
  return !parts_.evaluation.empty() && parts_.evaluation.front().first == "validation";
}

eval::ImageScores score_images(models::ResNet& model, const data::ImageSet& images, GradSync& sync,
                               core::ProgressObserver* progress) {
  eval::ImageLosses own;
  together(sync, [&] {
    // Whole batches, so that each has the same numbers for any number of ranks.
    const Share share = share_of(static_cast<std::size_t>((images.size() + kBatch - 1) / kBatch), sync);
    own = eval::image_losses(model, images, std::min(images.size(), static_cast<std::int64_t>(share.first) * kBatch),
                             std::min(images.size(), static_cast<std::int64_t>(share.last) * kBatch), progress);
  });
  eval::ImageLosses all{gather(sync, own.losses), {}};
  for (const double predicted : gather(sync, {own.predicted.begin(), own.predicted.end()}))
    all.predicted.push_back(static_cast<std::int64_t>(predicted));
  return eval::image_scores(images, all);
}

eval::ImageScores ImageClassification::score(const data::ImageSet& images) {
  return score_images(*parts_.model, images, sync_);
}

std::vector<std::pair<std::string, eval::ImageScores>> ImageClassification::scores() {
  const at::NoGradGuard no_grad;
  settle_statistics();
  if (parts_.adapter != nullptr) parts_.adapter->compose();
  std::vector<std::pair<std::string, eval::ImageScores>> result;
  for (const auto& [split, images] : parts_.evaluation) result.emplace_back(split, score(images));
  return result;
}

void ImageClassification::save(const std::filesystem::path& directory) {
  settle_statistics();
  if (parts_.adapter != nullptr) {
    lora::save_injected(*parts_.adapter, directory);
  } else {
    parts_.model->save(directory);
  }
  if (parts_.save_extra) parts_.save_extra(directory);
}

std::string ImageClassification::weights_hash() {
  std::string hashes;
  for (const lora::NamedTensor& weight : parameters()) {
    const std::vector<std::uint8_t> bytes =
        kernels::to_host<std::uint8_t>(weight.tensor.detach().contiguous().flatten().view(at::kByte));
    hashes += core::sha256({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  return core::sha256(hashes);
}

void ImageClassification::settle_statistics() {
  if (parts_.method != ImageMethod::kFull) return;
  const std::string now = weights_hash();
  if (now == settled_) return;
  settled_ = now;
  if (now == start_) {
    const at::NoGradGuard no_grad;
    const std::vector<lora::NamedTensor> current = parts_.model->named_buffers();
    for (std::size_t i = 0; i < current.size(); ++i) at::Tensor(current[i].tensor).copy_(start_statistics_[i].tensor);
    return;
  }
  const std::size_t all = parts_.train.labels.size(), used = std::min(all, kEstimated);
  std::vector<std::uint32_t> pictures(used);
  for (std::size_t i = 0; i < used; ++i) pictures[i] = static_cast<std::uint32_t>(i * all / used);
  // As many batches as are full; fewer pictures than one batch are one.
  const std::size_t batches = std::max<std::size_t>(1, used / kEstimateBatch);
  parts_.model->estimate_statistics(static_cast<std::int64_t>(batches), [&](std::int64_t i) {
    const auto begin = static_cast<std::size_t>(i) * used / batches,
               end = (static_cast<std::size_t>(i) + 1) * used / batches;
    return eval::image_batch(parts_.train, std::span(pictures).subspan(begin, end - begin));
  });
}

}  // namespace lowrank::train
