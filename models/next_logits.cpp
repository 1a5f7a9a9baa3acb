#include "lowrank/models/next_logits.h"

#include "lowrank/kernels/host.h"

namespace lowrank::models {

at::Tensor next_logits(DecoderImpl& decoder, KvCache& cache, const std::vector<std::vector<data::TokenId>>& inputs) {
  std::vector<std::int64_t> lengths;
  for (const std::vector<data::TokenId>& input : inputs) lengths.push_back(static_cast<std::int64_t>(input.size()));
  const kernels::Segments segments = cache.segments(lengths);
  std::vector<std::int64_t> ids, last;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    ids.insert(ids.end(), inputs[i].begin(), inputs[i].end());
    last.push_back(segments.q_offsets[i + 1] - 1);
  }
  const at::Tensor hidden =
      decoder.hidden(kernels::from_host<std::int64_t>(ids, {segments.tokens()}), segments, {.cache = &cache});
  return decoder.logits(
      hidden.index_select(0, kernels::from_host<std::int64_t>(last, {segments.count()}, hidden.device())));
}

}  // namespace lowrank::models
