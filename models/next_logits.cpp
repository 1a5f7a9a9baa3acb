#include "lowrank/models/next_logits.h"

#include <algorithm>

#include "lowrank/kernels/host.h"
#include "lowrank/models/description.h"

namespace lowrank::models {
namespace {

// Whether what was cached when the sequence had `before` tokens was turned otherwise than it must be with `now` tokens.
bool turned_otherwise(const DecoderConfig& config, std::int64_t before, std::int64_t now) {
  return std::any_of(config.blocks->rotary.begin(), config.blocks->rotary.end(), [&](const RotarySpec& spec) {
    const std::int64_t original = spec.scaling.original_max_position_embeddings;
    return spec.scaling.kind == RopeScaling::Kind::kLongRope && (before > original) != (now > original);
  });
}

}  // namespace

at::Tensor next_logits(DecoderImpl& decoder, KvCache& cache,
                       const std::vector<std::span<const data::TokenId>>& sequences) {
  std::vector<std::int64_t> lengths, ids, last;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const auto sequence = static_cast<std::int64_t>(i), length = static_cast<std::int64_t>(sequences[i].size());
    if (turned_otherwise(decoder.config(), cache.longest(sequence), length)) cache.truncate(0, sequence);
    const auto unread = sequences[i].subspan(static_cast<std::size_t>(cache.length(sequence)));
    ids.insert(ids.end(), unread.begin(), unread.end());
    lengths.push_back(static_cast<std::int64_t>(unread.size()));
    last.push_back(static_cast<std::int64_t>(ids.size()) - 1);
  }
  const kernels::Segments segments = cache.segments(lengths);
  const at::Device device = decoder.device();
  const at::Tensor hidden =
      decoder.hidden(kernels::from_host<std::int64_t>(ids, {segments.tokens()}, device), segments, {.cache = &cache});
  const at::Tensor rows = kernels::from_host<std::int64_t>(last, {segments.count()}, device);
  return decoder.logits(hidden.index_select(0, rows)).to(at::kCPU);
}

}  // namespace lowrank::models
