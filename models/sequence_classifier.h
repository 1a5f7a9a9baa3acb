// A score head over a decoder, as transformers' …ForSequenceClassification has it: from the last hidden state of a text
// one number a label.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/data/records.h"
#include "lowrank/kernels/segments.h"
#include "lowrank/lora/whole_module.h"
#include "lowrank/models/decoder.h"

namespace lowrank::models {

/// The head is a module "score" of the model without a bias, which an adapter trains whole (`modules_to_save`). A text
/// is pooled at its last token. Its numbers are computed in double from fp32, in a fixed order, so that they do not
/// depend on the number of threads.
class SequenceClassifier {
 public:
  static constexpr const char* kScore = "score";

  /// `score` [labels, d], fp32: what the head is where no adapter has a copy of it.
  SequenceClassifier(Decoder decoder, const at::Tensor& score);

  const Decoder& decoder() const { return decoder_; }
  std::int64_t labels() const { return labels_; }
  /// The decoder's without its output embedding, which takes no part, and with the head among the modules that can be
  /// trained whole.
  lora::SlotTable slot_table() const;

  /// hidden [T, d] -> the last of each segment [S, d].
  at::Tensor pooled(const at::Tensor& hidden, const kernels::Segments& segments) const;
  /// pooled [S, d] -> [S * labels], row by row, with the head of the adapter that is enabled.
  std::vector<double> scores(const at::Tensor& pooled) const;
  /// A scalar whose gradient is that of a loss with these slopes by the scores [S * labels]: of the head's weight and,
  /// through `pooled`, of what is below. Its value means nothing.
  at::Tensor tangent(const at::Tensor& pooled, const std::vector<double>& slopes) const;

 private:
  Decoder decoder_;
  std::int64_t labels_;
  lora::WholeModule score_;
};

/// The scores [examples * labels] of whole texts, without gradients, in batches of up to `batch_tokens` that depend on
/// the texts alone.
std::vector<double> score_texts(const SequenceClassifier& classifier, const data::Examples& texts,
                                std::int64_t batch_tokens = 2048, core::ProgressObserver* progress = nullptr);

}  // namespace lowrank::models
