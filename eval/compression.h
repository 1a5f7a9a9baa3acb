// An adapter at the smallest ranks that say nearly the same: how much each rank-one term matters, and how many are
// kept.
#pragma once

#include <cstdint>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/data/dataset.h"
#include "lowrank/eval/forgetting.h"
#include "lowrank/lora/rank_terms.h"
#include "lowrank/models/decoder.h"

namespace lowrank::eval {

/// The terms of an adapter on `decoder`, ordered by what the mean KL(with the adapter ‖ without a term), nats a token,
/// rises by: lora::weighted with the curvature of that divergence where it is 0, which is the Fisher information. Its
/// factors are second moments of the gradient of log p(y) in ΔW's coefficients, y drawn by the model itself (seed),
/// over up to 128 of the examples: Bᵀ's side and A's are had from the gradient of B alone. The adapter is left as it
/// was.
std::vector<lora::RankTerms> terms_by_divergence(models::DecoderImpl& decoder, lora::Adapter& adapter,
                                                 const data::Dataset& data, std::uint64_t seed,
                                                 core::ProgressObserver* progress = nullptr);

/// KL(with `adapter` ‖ with `other`), nats a token; `other` null: the base. Both are on afterwards as before: `adapter`
/// on, `other` off.
Change divergence(models::DecoderImpl& decoder, lora::Adapter& adapter, lora::Adapter* other,
                  const data::Dataset& data);
/// `other`: the first ranks[i] terms of layer i.
Change divergence(models::DecoderImpl& decoder, lora::Adapter& adapter, const std::vector<lora::RankTerms>& terms,
                  const std::vector<std::int64_t>& ranks, const data::Dataset& data);

struct RankChoice {
  std::vector<std::int64_t> ranks;
  Change kl;  // on the data it was chosen on
};

/// The ranks with the fewest numbers whose divergence is at most `bound`, by the upper end of its interval, so that the
/// bound holds on other text. Terms go in the order of their predicted divergence for a number that is saved (size² /
/// (in + out)) and their count is bisected. One term stays, and with a magnitude (DoRA) one of each layer.
RankChoice choose_ranks(models::DecoderImpl& decoder, lora::Adapter& adapter, const std::vector<lora::RankTerms>& terms,
                        const data::Dataset& data, double bound, core::ProgressObserver* progress = nullptr);

}  // namespace lowrank::eval
