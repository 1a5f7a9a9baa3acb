#include "lowrank/recipes/probe.h"

#include <ATen/core/grad_mode.h>

#include <cmath>

#include "lowrank/kernels/host.h"
#include "lowrank/kernels/segments.h"
#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

const char* const kProbe =
    "The painter mixed the colours on the wet plaster before the light had gone. Once upon a time there was a small "
    "house "
    "at the edge of the wood, and in 1504 nobody lived there.";

namespace {

at::Tensor tensor_of(const std::vector<data::TokenId>& ids) {
  const std::vector<std::int64_t> wide(ids.begin(), ids.end());
  return kernels::from_host<std::int64_t>(wide, {static_cast<std::int64_t>(ids.size())});
}

}  // namespace

std::vector<data::TokenId> probe_ids(const models::LoadedModel& model, const std::string& probe) {
  std::vector<data::TokenId> ids = model.tokenizer->encode(probe);
  if (ids.empty()) throw FieldError("probe", "the text has no tokens; give a sentence");
  const auto positions = static_cast<std::size_t>(model.decoder->config().max_positions);
  if (ids.size() > positions) ids.resize(positions);
  return ids;
}

at::Tensor probe_logits(models::DecoderImpl& decoder, const std::vector<data::TokenId>& ids) {
  const at::NoGradGuard no_grad;
  const auto segments = kernels::Segments::of_lengths({static_cast<std::int64_t>(ids.size())});
  return decoder.logits(decoder.hidden(tensor_of(ids), segments));
}

Difference difference(const at::Tensor& a, const at::Tensor& b) {
  const at::NoGradGuard no_grad;
  const at::Tensor log_p = a.log_softmax(1, at::kDouble), log_q = b.log_softmax(1, at::kDouble);
  Difference difference;
  difference.largest = a.to(at::kDouble).sub(b.to(at::kDouble)).abs().max().item<double>();
  difference.kl = log_p.exp().mul(log_p.sub(log_q)).sum(1).mean().item<double>();
  return difference;
}

double perplexity(const at::Tensor& logits, const std::vector<data::TokenId>& ids) {
  const at::NoGradGuard no_grad;
  const std::int64_t count = logits.size(0) - 1;
  if (count == 0) return 1;
  const at::Tensor next = tensor_of(ids).slice(0, 1).unsqueeze(1);
  const at::Tensor log_p = logits.slice(0, 0, count).log_softmax(1, at::kDouble).gather(1, next);
  return std::exp(-log_p.mean().item<double>());
}

}  // namespace lowrank::recipes
