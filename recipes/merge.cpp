#include "lowrank/recipes/merge.h"

#include <ATen/core/grad_mode.h>

#include "lowrank/kernels/host.h"
#include "lowrank/kernels/segments.h"
#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;

const char* const kProbe =
    "The painter mixed the colours on the wet plaster before the light had gone. Once upon a time there was a small "
    "house "
    "at the edge of the wood, and in 1504 nobody lived there.";

namespace {

using Difference = MergeResult::Difference;

/// Logits [T, V] fp32 of a text, cut to the model's positions.
at::Tensor logits_of(models::DecoderImpl& decoder, const std::vector<data::TokenId>& ids) {
  const at::NoGradGuard no_grad;
  const auto length = static_cast<std::int64_t>(ids.size());
  const std::vector<std::int64_t> wide(ids.begin(), ids.end());
  const at::Tensor tokens = kernels::from_host<std::int64_t>(wide, {length});
  return decoder.logits(decoder.hidden(tokens, kernels::Segments::of_lengths({length})));
}

Difference compare(const at::Tensor& a, const at::Tensor& b) {
  const at::NoGradGuard no_grad;
  const at::Tensor log_p = a.log_softmax(1, at::kDouble), log_q = b.log_softmax(1, at::kDouble);
  Difference difference;
  difference.largest = a.to(at::kDouble).sub(b.to(at::kDouble)).abs().max().item<double>();
  difference.kl = log_p.exp().mul(log_p.sub(log_q)).sum(1).mean().item<double>();
  return difference;
}

}  // namespace

models::DTypeChoice dtype_of_files(const fs::path& model) {
  const auto weights = formats::WeightFiles::open(model);
  std::uint64_t brain = 0;
  for (const std::string& name : weights.names()) {
    const formats::TensorInfo& info = *weights.find(name)->info;
    if (info.dtype == formats::DType::kBF16) brain += info.end - info.begin;
  }
  return 2 * brain > weights.total_bytes() ? models::DTypeChoice::kBFloat16 : models::DTypeChoice::kFloat32;
}

std::string what_is_written(const lora::Adapter& adapter) {
  std::string text = adapter.config().use_dora ? "round(m/n · (W + s·BA))" : "round(W + s·BA)";
  if (!adapter.whole().empty()) text += " and the trained copies, rounded once";
  return text;
}

MergeResult merge(const models::LoadedModel& model, lora::Adapter& adapter, const fs::path& out,
                  const std::string& probe, core::ProgressObserver& progress) {
  // What base + adapter says, before anything is written.
  std::vector<data::TokenId> ids = model.tokenizer->encode(probe);
  if (ids.empty()) throw FieldError("probe", "the text has no tokens; give a sentence");
  const auto positions = static_cast<std::size_t>(model.decoder->config().max_positions);
  if (ids.size() > positions) ids.resize(positions);
  MergeResult result;
  result.probe_tokens = static_cast<std::int64_t>(ids.size());
  const at::Tensor with_adapter = logits_of(*model.decoder, ids);
  adapter.set_enabled(false);
  result.effect = compare(logits_of(*model.decoder, ids), with_adapter);
  adapter.set_enabled(true);

  if (fs::exists(out)) fs::remove(out);  // empty, or this throws
  result.report = lora::merge_files(model.path, adapter, out, &progress);
  try {
    lora::verify_merge(model.path, adapter, out, &progress);
    models::LoadOptions load;
    load.dtype =
        model.decoder->dtype() == at::kBFloat16 ? models::DTypeChoice::kBFloat16 : models::DTypeChoice::kFloat32;
    const models::LoadedModel merged = models::load(out.string(), load, &progress);
    result.error = compare(with_adapter, logits_of(*merged.decoder, ids));
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(out, ignored);
    throw;
  }
  return result;
}

}  // namespace lowrank::recipes
