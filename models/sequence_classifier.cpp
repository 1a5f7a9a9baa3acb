#include "lowrank/models/sequence_classifier.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/data/batch_torch.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/ordered_product.h"
#include "lowrank/models/description.h"

namespace lowrank::models {

SequenceClassifier::SequenceClassifier(Decoder decoder, const at::Tensor& score)
    : decoder_(std::move(decoder)), labels_(score.size(0)) {
  const std::int64_t width = state_width(decoder_->config());
  if (score.dim() != 2 || labels_ < 1 || score.size(1) != width) {
    throw ModelError(fmt::format("the score head must be [labels, {}] for this model", width));
  }
  const std::vector<lora::NamedTensor> base = {{"weight", score.to(decoder_->device())}};
  score_ = std::make_shared<lora::WholeModuleImpl>(kScore, base);
}

lora::SlotTable SequenceClassifier::slot_table() const {
  lora::SlotTable table = decoder_->slot_table();
  std::erase_if(table.slots, [&](const lora::LinearSlot& slot) { return slot->path() == table.head; });
  table.whole.push_back(score_);
  table.activations = nullptr;  // PEFT tells its classifiers of no invocation
  return table;
}

at::Tensor SequenceClassifier::pooled(const at::Tensor& hidden, const kernels::Segments& segments) const {
  std::vector<std::int64_t> last;
  for (std::size_t s = 1; s < segments.q_offsets.size(); ++s) last.push_back(segments.q_offsets[s] - 1);
  return hidden.index_select(0, kernels::from_host<std::int64_t>(last, {segments.count()}, hidden.device()));
}

std::vector<double> SequenceClassifier::scores(const at::Tensor& pooled) const {
  const at::Tensor weight = score_->current("weight").detach().to(at::kFloat);
  return kernels::to_host<double>(kernels::ordered_product(pooled.detach().to(at::kFloat), weight.t()));
}

at::Tensor SequenceClassifier::tangent(const at::Tensor& pooled, const std::vector<double>& slopes) const {
  const at::Tensor current = score_->current("weight"), rows = pooled.to(at::kFloat);
  const at::Tensor slope = kernels::from_host<double>(slopes, {pooled.size(0), labels_}, pooled.device());
  const at::Tensor by_rows = kernels::ordered_product(slope, current.detach().to(at::kFloat)).to(at::kFloat);
  const at::Tensor by_weight = kernels::ordered_product(slope.t(), rows.detach()).to(at::kFloat);
  return rows.mul(by_rows).sum().add(current.mul(by_weight).sum());
}

std::vector<double> score_texts(const SequenceClassifier& classifier, const data::Examples& texts,
                                std::int64_t batch_tokens, core::ProgressObserver* progress) {
  const at::NoGradGuard no_grad;
  std::vector<double> all;
  all.reserve(texts.size() * static_cast<std::size_t>(classifier.labels()));
  if (progress != nullptr) progress->begin("scoring", static_cast<std::int64_t>(texts.size()), "texts");
  for (std::size_t next = 0; next < texts.size();) {
    std::vector<std::uint32_t> which;
    for (std::int64_t tokens = 0; next < texts.size(); ++next) {
      tokens += static_cast<std::int64_t>(texts.length(next));
      if (!which.empty() && tokens > batch_tokens) break;
      which.push_back(static_cast<std::uint32_t>(next));
    }
    const data::Batch batch = data::make_batch(texts, which);
    const at::Tensor hidden = classifier.decoder()->hidden(batch.ids, batch.segments);
    const std::vector<double> scores = classifier.scores(classifier.pooled(hidden, batch.segments));
    all.insert(all.end(), scores.begin(), scores.end());
    if (progress != nullptr) progress->advance(static_cast<std::int64_t>(next));
  }
  if (progress != nullptr) progress->end();
  return all;
}

}  // namespace lowrank::models
