#include "lowrank/models/next_logits.h"

#include <algorithm>

#include "lowrank/kernels/aten.h"

namespace lowrank::models {

at::Tensor next_logits(DecoderImpl& decoder, KvCache& cache, const std::vector<std::vector<data::TokenId>>& inputs) {
  std::vector<std::int64_t> lengths;
  for (const std::vector<data::TokenId>& input : inputs) lengths.push_back(static_cast<std::int64_t>(input.size()));
  const kernels::Segments segments = cache.segments(lengths);
  const at::Tensor ids = kernels::aten::empty({segments.tokens()}, at::kLong);
  const at::Tensor last = kernels::aten::empty({segments.count()}, at::kLong);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    std::copy(inputs[i].begin(), inputs[i].end(), ids.data_ptr<std::int64_t>() + segments.q_offsets[i]);
    last.data_ptr<std::int64_t>()[i] = segments.q_offsets[i + 1] - 1;
  }
  const at::Tensor hidden = decoder.hidden(ids, segments, {.cache = &cache});
  return decoder.logits(hidden.index_select(0, last));
}

}  // namespace lowrank::models
