#include "lowrank/train/sequences.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <span>

#include "lowrank/kernels/host.h"
#include "lowrank/kernels/row_entropy.h"

namespace lowrank::train {
namespace {

constexpr std::int64_t kBatchTokens = 4096;  // of a batch without gradients
constexpr std::int64_t kNotLearned = -100;
constexpr std::size_t kLogitRows = 256;  // whose logits are whole in memory

/// fp32 [T] on the losses' device: value(segment, n) at the n-th learned token of each segment, 0 elsewhere.
template <typename Value>
at::Tensor at_learned(const at::Tensor& losses, const data::Batch& batch, const Value& value) {
  const std::vector<std::int64_t> labels = kernels::to_host<std::int64_t>(batch.labels);
  std::vector<float> spread(labels.size(), 0.0F);
  for (std::int64_t s = 0; s < batch.segments.count(); ++s) {
    std::size_t n = 0;
    for (auto t = static_cast<std::size_t>(batch.segments.q_offsets[s]);
         t < static_cast<std::size_t>(batch.segments.q_offsets[s + 1]); ++t) {
      if (labels[t] != kNotLearned) spread[t] = static_cast<float>(value(static_cast<std::size_t>(s), n++));
    }
  }
  return kernels::from_host(std::span<const float>(spread), {static_cast<std::int64_t>(spread.size())},
                            losses.device());
}

}  // namespace

Share share_of(const data::Examples& examples, std::int64_t batch_tokens, const GradSync& sync) {
  std::vector<std::size_t> begins;
  for (std::size_t next = 0; next < examples.size(); next += data::examples_from(examples, next, batch_tokens).size()) {
    begins.push_back(next);
  }
  const Share batches = share_of(begins.size(), sync);
  begins.push_back(examples.size());
  return {begins[batches.first], begins[batches.last]};
}

TokenValues token_logps(const at::Tensor& losses, const data::Batch& batch) {
  const std::vector<float> loss = kernels::to_host<float>(losses);
  const std::vector<std::int64_t> labels = kernels::to_host<std::int64_t>(batch.labels);
  TokenValues result(static_cast<std::size_t>(batch.segments.count()));
  for (std::size_t s = 0; s < result.size(); ++s) {
    for (auto t = static_cast<std::size_t>(batch.segments.q_offsets[s]);
         t < static_cast<std::size_t>(batch.segments.q_offsets[s + 1]); ++t) {
      if (labels[t] != kNotLearned) result[s].push_back(-double{loss[t]});
    }
  }
  return result;
}

TokenValues token_logps(models::DecoderImpl& decoder, const data::Examples& examples, Share share,
                        std::int64_t batch_tokens, core::ProgressObserver* progress,
                        const std::shared_ptr<const data::TokenStorage>& storage) {
  const at::NoGradGuard no_grad;
  data::ReadAlong along(storage, true);  // a part of a set lies apart
  TokenValues all;
  all.reserve(share.last - share.first);
  for (std::size_t next = share.first; next < share.last;) {
    const data::Batch batch = data::make_batch(examples, data::examples_from(examples, next, batch_tokens));
    const at::Tensor hidden = decoder.hidden(batch.ids, batch.segments);
    for (std::vector<double>& logps : token_logps(decoder.token_losses(hidden, batch.labels), batch)) {
      all.push_back(std::move(logps));
    }
    for (std::int64_t i = 0; i < batch.segments.count(); ++i) along.read(examples[next++]);
    if (progress != nullptr) progress->advance(static_cast<std::int64_t>(all.size()));
  }
  return all;
}

std::vector<double> totals(const TokenValues& values) {
  std::vector<double> result;
  result.reserve(values.size());
  for (const std::vector<double>& of_one : values) {
    double sum = 0;
    for (const double value : of_one) sum += value;
    result.push_back(sum);
  }
  return result;
}

std::vector<double> answer_logps(models::DecoderImpl& decoder, const data::Examples& examples,
                                 GradSync& sync, core::ProgressObserver* progress) {
  std::vector<double> own;
  together(sync, [&] {
    own = totals(token_logps(decoder, examples, share_of(examples, kBatchTokens, sync), kBatchTokens, progress));
  });
  return gather(sync, own);
}

double total_entropy(models::DecoderImpl& decoder, const at::Tensor& hidden, const data::Batch& batch) {
  const at::NoGradGuard no_grad;
  const std::vector<std::int64_t> labels = kernels::to_host<std::int64_t>(batch.labels);
  std::vector<std::int64_t> learned;
  for (std::size_t t = 0; t < labels.size(); ++t) {
    if (labels[t] != kNotLearned) learned.push_back(static_cast<std::int64_t>(t));
  }
  double sum = 0;
  for (std::size_t begin = 0; begin < learned.size(); begin += kLogitRows) {
    const std::span<const std::int64_t> some =
        std::span(learned).subspan(begin, std::min(kLogitRows, learned.size() - begin));
    const at::Tensor index = kernels::from_host(some, {static_cast<std::int64_t>(some.size())}, hidden.device());
    for (const double entropy : kernels::row_entropies(decoder.logits(hidden.detach().index_select(0, index)))) {
      sum += entropy;
    }
  }
  return sum;
}

std::vector<double> text_scores(const models::SequenceClassifier& classifier, const data::Examples& texts,
                                GradSync& sync, std::int64_t batch_tokens) {
  std::vector<double> own;
  together(sync, [&] {
    const Share share = share_of(texts, batch_tokens, sync);
    const auto begin = texts.begin();
    own = models::score_texts(
        classifier,
        std::vector(begin + static_cast<std::ptrdiff_t>(share.first), begin + static_cast<std::ptrdiff_t>(share.last)),
        batch_tokens);
  });
  return gather(sync, own);
}

at::Tensor tangent(const at::Tensor& losses, const data::Batch& batch, const TokenValues& slopes) {
  return losses.mul(at_learned(losses, batch, [&](std::size_t s, std::size_t n) { return -slopes[s][n]; })).sum();
}

at::Tensor tangent(const at::Tensor& losses, const data::Batch& batch, const std::vector<double>& slopes) {
  return losses.mul(at_learned(losses, batch, [&](std::size_t s, std::size_t) { return -slopes[s]; })).sum();
}

}  // namespace lowrank::train
