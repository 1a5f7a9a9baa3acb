// Log-probabilities of answers, token by token, and scores of texts: of whole sets in packed batches that the ranks
// share, and of a micro-batch in training, with the way back.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/data/batch_torch.h"
#include "lowrank/data/dataset.h"
#include "lowrank/models/decoder.h"
#include "lowrank/models/sequence_classifier.h"
#include "lowrank/train/grad_sync.h"

namespace lowrank::train {

/// A number for each learned token of each example, in their order.
using TokenValues = std::vector<std::vector<double>>;

/// The run of examples that falls to this rank when all go through `examples` in the batches that
/// data::examples_from cuts: whole batches, so that each has the same numbers for any number of ranks.
Share share_of(const data::Examples& examples, std::int64_t batch_tokens, const GradSync& sync);

/// From token losses fp32 [T] of a batch.
TokenValues token_logps(const at::Tensor& losses, const data::Batch& batch);

/// Those of examples [share.first, share.last), with the adapters that are enabled, without gradients. `storage`: what
/// they lie in (Dataset::storage).
TokenValues token_logps(models::DecoderImpl& decoder, const data::Examples& examples, Share share,
                        std::int64_t batch_tokens, core::ProgressObserver* progress = nullptr,
                        const std::shared_ptr<const data::TokenStorage>& storage = nullptr);

/// The sum of each, in order.
std::vector<double> totals(const TokenValues& values);

/// Log-probabilities of the answers of all examples, the ranks each having done their share.
std::vector<double> answer_logps(models::DecoderImpl& decoder, const data::Examples& examples,
                                 GradSync& sync, core::ProgressObserver* progress = nullptr);

/// The sum over the learned tokens of a batch of the entropy, in nats, of what the model would say in their place;
/// hidden [T, d]. Without gradients.
double total_entropy(models::DecoderImpl& decoder, const at::Tensor& hidden, const data::Batch& batch);

/// The scores [examples * labels] of all texts, the ranks each having done their share.
std::vector<double> text_scores(const models::SequenceClassifier& classifier, const data::Examples& texts,
                                GradSync& sync, std::int64_t batch_tokens = 2048);

/// A scalar whose gradient is that of a loss with these slopes by the log-probability of each learned token. Its value
/// means nothing.
at::Tensor tangent(const at::Tensor& losses, const data::Batch& batch, const TokenValues& slopes);

/// The same where a loss goes by the log-probabilities of whole answers.
at::Tensor tangent(const at::Tensor& losses, const data::Batch& batch, const std::vector<double>& slopes);

}  // namespace lowrank::train
