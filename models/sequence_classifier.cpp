#include "lowrank/models/sequence_classifier.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/data/batch_torch.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kTexts = 8, kColumns = 64;  // rows of a chunk

at::Tensor plain_rows(const at::Tensor& tensor) { return tensor.detach().to(at::kFloat).contiguous(); }

}  // namespace

SequenceClassifier::SequenceClassifier(Decoder decoder, const at::Tensor& score)
    : decoder_(std::move(decoder)), labels_(score.size(0)) {
  const std::int64_t width = decoder_->config().hidden_size;
  if (score.dim() != 2 || labels_ < 1 || score.size(1) != width) {
    throw ModelError(fmt::format("the score head must be [labels, {}] for this model", width));
  }
  score_ = std::make_shared<lora::WholeModuleImpl>(kScore, std::vector<lora::NamedTensor>{{"weight", score}});
}

lora::SlotTable SequenceClassifier::slot_table() const {
  lora::SlotTable table = decoder_->slot_table();
  std::erase_if(table.slots, [&](const lora::LinearSlot& slot) { return slot->path() == table.head; });
  table.whole.push_back(score_);
  return table;
}

at::Tensor SequenceClassifier::pooled(const at::Tensor& hidden, const kernels::Segments& segments) const {
  const at::Tensor last = kernels::aten::empty({segments.count()}, at::kLong);
  auto* at = last.data_ptr<std::int64_t>();
  for (std::int64_t s = 0; s < segments.count(); ++s) at[s] = segments.q_offsets[static_cast<std::size_t>(s) + 1] - 1;
  return hidden.index_select(0, last);
}

std::vector<double> SequenceClassifier::scores(const at::Tensor& pooled) const {
  const at::Tensor rows = plain_rows(pooled), weight = plain_rows(score_->current("weight"));
  const float* x = rows.const_data_ptr<float>();
  const float* w = weight.const_data_ptr<float>();
  const std::int64_t count = rows.size(0), width = rows.size(1);
  std::vector<double> result(static_cast<std::size_t>(count * labels_));
  kernels::for_row_chunks(count, kTexts, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t k = 0; k < labels_; ++k) {
        double sum = 0;
        for (std::int64_t j = 0; j < width; ++j) sum += double{x[i * width + j]} * double{w[k * width + j]};
        result[static_cast<std::size_t>(i * labels_ + k)] = sum;
      }
    }
  });
  return result;
}

at::Tensor SequenceClassifier::tangent(const at::Tensor& pooled, const std::vector<double>& slopes) const {
  const at::Tensor rows = plain_rows(pooled), current = score_->current("weight"), weight = plain_rows(current);
  const float* x = rows.const_data_ptr<float>();
  const float* w = weight.const_data_ptr<float>();
  const std::int64_t count = rows.size(0), width = rows.size(1);
  const at::Tensor by_rows = kernels::aten::empty({count, width}, at::kFloat),
                   by_weight = kernels::aten::empty({labels_, width}, at::kFloat);
  auto* to_rows = by_rows.data_ptr<float>();
  auto* to_weight = by_weight.data_ptr<float>();
  kernels::for_row_chunks(count, kTexts, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t j = 0; j < width; ++j) {
        double sum = 0;
        for (std::int64_t k = 0; k < labels_; ++k) {
          sum += slopes[static_cast<std::size_t>(i * labels_ + k)] * double{w[k * width + j]};
        }
        to_rows[i * width + j] = static_cast<float>(sum);
      }
    }
  });
  // By columns: each is summed over the texts in their order.
  kernels::for_row_chunks(width, kColumns, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t k = 0; k < labels_; ++k) {
      for (std::int64_t j = begin; j < end; ++j) {
        double sum = 0;
        for (std::int64_t i = 0; i < count; ++i) {
          sum += slopes[static_cast<std::size_t>(i * labels_ + k)] * double{x[i * width + j]};
        }
        to_weight[k * width + j] = static_cast<float>(sum);
      }
    }
  });
  return pooled.to(at::kFloat).mul(by_rows).sum().add(current.mul(by_weight).sum());
}

std::vector<double> score_texts(const SequenceClassifier& classifier, const std::vector<data::Example>& texts,
                                std::int64_t batch_tokens, core::ProgressObserver* progress) {
  const at::NoGradGuard no_grad;
  std::vector<double> all;
  all.reserve(texts.size() * static_cast<std::size_t>(classifier.labels()));
  if (progress != nullptr) progress->begin("scoring", static_cast<std::int64_t>(texts.size()), "texts");
  for (std::size_t next = 0; next < texts.size();) {
    std::vector<std::uint32_t> which;
    for (std::int64_t tokens = 0; next < texts.size(); ++next) {
      tokens += static_cast<std::int64_t>(texts[next].ids.size());
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
