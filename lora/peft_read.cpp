// The values of an adapter's file, checked against the config and the model.
#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/peft_loading.h"

namespace lowrank::lora {
namespace {

void check_dtype(const Loading& loading, const TensorInfo& info) {
  using formats::DType;
  if (info.dtype != DType::kF32 && info.dtype != DType::kF16 && info.dtype != DType::kBF16 && info.dtype != DType::kF64)
    loading.fail(fmt::format("'{}' is of type {}; expected F32, BF16 or F16", core::printable(info.name, 200),
                             formats::dtype_name(info.dtype)));
}

void check_shape(const Loading& loading, const TensorInfo& info, std::int64_t r, LoraPart part, const std::string& path,
                 Widths widths) {
  const auto [in, out] = widths;
  const std::vector<std::int64_t> expected = part == LoraPart::kA   ? std::vector{r, in}
                                             : part == LoraPart::kB ? std::vector{out, r}
                                                                    : std::vector{out};
  if (info.shape == expected) return;
  const std::size_t rank_axis = part == LoraPart::kA ? 0 : 1;
  if ((part == LoraPart::kA || part == LoraPart::kB) && info.shape.size() == 2 && info.shape[1 - rank_axis] == expected[1 - rank_axis])
    loading.fail(fmt::format("'{}' has shape {}, so rank {}; adapter_config.json gives {} rank {} (expected shape {})",
                             core::printable(info.name, 200), shape_text(info.shape), info.shape[rank_axis], path, r,
                             shape_text(expected)));
  loading.fail(fmt::format("'{}' has shape {}, expected {} for this model's {} (in {}, out {}, rank {}){}",
                           core::printable(info.name, 200), shape_text(info.shape), shape_text(expected), path, in, out,
                           r, loading.made_for()));
}

at::Tensor read_matrix(const Loading& loading, const TensorInfo& info, at::Device device) {
  at::Tensor matrix = formats::tensor_view(loading.file, info).to(at::kFloat, false, /*copy=*/true);
  if (!matrix.isfinite().all().item<bool>())
    loading.fail(fmt::format("'{}' has values that are not finite (NaN or infinity); the run that made it went wrong",
                             core::printable(info.name, 200)));
  return matrix.to(device).set_requires_grad(true);
}

}  // namespace

LoraMatrices read_matrices(const Loading& loading, const Contents& contents, const std::string& path,
                           const std::string& known, Widths widths, bool embedding, at::Device device) {
  const auto found = contents.pairs.find(path);
  Found pair = found == contents.pairs.end() ? Found{} : found->second;
  if (found != contents.pairs.end() && pair.embedding != embedding)
    loading.fail(fmt::format("unexpected tensor '{}': '{}' is {} embedding in this model",
                             core::printable(pair.any_name(), 200), path, embedding ? "an" : "no"));
  const std::vector<LoraPart> parts = parts_of(loading.config);
  for (const LoraPart part : parts)
    if (pair.of(part) == nullptr)
      loading.fail_missing(peft_name(path, part, embedding),
                   part == LoraPart::kMagnitude ? "use_dora" : part == LoraPart::kBias ? "lora_bias" : "target_modules");
  const std::int64_t r = loading.config.rank_for(known);
  if (pair.a->shape.size() == 2 && pair.b->shape.size() == 2 && pair.a->shape[0] != pair.b->shape[1])
    loading.fail(fmt::format("{}: lora_A {} has rank {} but lora_B {} has rank {}", path, shape_text(pair.a->shape),
                             pair.a->shape[0], shape_text(pair.b->shape), pair.b->shape[1]));
  for (const LoraPart part : parts) {
    check_dtype(loading, *pair.of(part));
    check_shape(loading, *pair.of(part), r, part, path, widths);
  }
  LoraMatrices lora = {read_matrix(loading, *pair.a, device), read_matrix(loading, *pair.b, device), r,
                       loading.config.scale_for(known), loading.config.lora_dropout};
  if (pair.magnitude != nullptr) lora.magnitude = read_matrix(loading, *pair.magnitude, device);
  if (pair.bias != nullptr) lora.bias = read_matrix(loading, *pair.bias, device);
  return lora;
}

LoraMatrices read_experts(Loading& loading, const Contents& contents, const std::string& path,
                          const ExpertsSlotImpl& slot, const std::vector<ExpertsSlot>& adapted) {
  LoraMatrices lora;
  lora.r = loading.config.rank_for(path);
  lora.scale = loading.config.scale_for(path);
  const auto found = contents.experts.find(path);
  if (found == contents.experts.end())
    loading.fail_missing(peft_name(experts_path(slot, adapted), LoraPart::kA), "target_parameters");
  const at::Device device = slot.weight().device();
  const ExpertsTensors& tensors = found->second;
  if (!tensors.older.empty()) {
    const auto read = [&](const TensorInfo& info) {
      check_dtype(loading, info);
      return read_matrix(loading, info, device).detach();
    };
    fuse_experts(tensors, slot, loading.file->path().string(), read, lora);
    return lora;
  }
  const std::int64_t rank = lora.r * slot.experts();
  for (const LoraPart part : {LoraPart::kA, LoraPart::kB}) {
    const TensorInfo* const info = part == LoraPart::kA ? tensors.a : tensors.b;
    if (info == nullptr) loading.fail_missing(peft_name(experts_path(slot, adapted), part), "target_parameters");
    check_dtype(loading, *info);
    const std::vector<std::int64_t> expected = part == LoraPart::kA ? std::vector{rank, slot.weight().in_features()}
                                                                    : std::vector{slot.weight().out_features(), rank};
    if (info->shape != expected)
      loading.fail(fmt::format("'{}' has shape {}, expected {} for this model's {} ({} experts, rank {}){}",
                               core::printable(info->name, 200), shape_text(info->shape), shape_text(expected),
                               slot.path(), slot.experts(), lora.r, loading.made_for()));
    (part == LoraPart::kA ? lora.a : lora.b) = read_matrix(loading, *info, device);
  }
  return lora;
}

std::vector<NamedTensor> read_copies(Loading& loading, Contents& contents, const std::string& path,
                                     const WholeModule& module, const std::vector<std::string>& wanted,
                                     bool beside_lora) {
  auto& present = contents.whole[path];
  std::vector<NamedTensor> result;
  for (const NamedTensor& own : module->base()) {
    if (std::find(wanted.begin(), wanted.end(), own.name) == wanted.end()) continue;
    const bool saved_whole = wanted.size() > 1;
    if (present.count(own.name) == 0)
      loading.fail_missing(whole_name(path, own.name, beside_lora),
                   saved_whole
                       ? "modules_to_save"
                       : fmt::format("bias = '{}' (early versions of PEFT lost such biases)", loading.config.bias));
    const TensorInfo& info = *present.at(own.name);
    check_dtype(loading, info);
    if (at::IntArrayRef(info.shape) != own.tensor.sizes())
      loading.fail(fmt::format("'{}' has shape {}, expected {} for this model's {}{}", core::printable(info.name, 200),
                               shape_text(info.shape), shape_text(own.tensor.sizes().vec()), module->path(),
                               loading.made_for()));
    result.push_back({own.name, read_matrix(loading, info, own.tensor.device())});
    present.erase(own.name);
  }
  return result;
}

at::Tensor read_rows(Loading& loading, const Contents& contents, const std::string& path, std::int64_t ids,
                     std::int64_t width, at::Device device) {
  const auto found = contents.tokens.find(path);
  if (found == contents.tokens.end()) loading.fail_missing(token_rows_name(path), "trainable_token_indices");
  const TensorInfo& info = *found->second;
  check_dtype(loading, info);
  if (info.shape != std::vector{ids, width})
    loading.fail(fmt::format("'{}' has shape {}, expected [{}, {}]: a row for each of trainable_token_indices",
                             core::printable(info.name, 200), shape_text(info.shape), ids, width));
  return read_matrix(loading, info, device);
}

void take_shared(Loading& loading, Contents& contents, Tied tied, const std::string& file_embedding,
                 const std::string& file_head) {
  const auto same = [&](const TensorInfo& a, const TensorInfo& b, bool turned) {
    const at::Tensor x = formats::tensor_view(loading.file, a), y = formats::tensor_view(loading.file, b);
    const at::Tensor other = turned && y.dim() == 2 ? y.t() : y;
    if (x.sizes() != other.sizes() || !x.equal(other))
      loading.fail(fmt::format("'{}' is not '{}', although ensure_weight_tying in adapter_config.json has both shared",
                               core::printable(a.name, 200), core::printable(b.name, 200)));
  };
  if (tied == Tied::kCopies) {
    const auto head = contents.whole.find(file_head), embedding = contents.whole.find(file_embedding);
    if (head == contents.whole.end() || embedding == contents.whole.end()) return;
    const auto own = head->second.find("weight"), other = embedding->second.find("weight");
    if (own == head->second.end() || other == embedding->second.end()) return;
    same(*own->second, *other->second, false);
    contents.whole.erase(head);
  } else if (tied == Tied::kMatrices) {
    const auto head = contents.pairs.find(file_head), embedding = contents.pairs.find(file_embedding);
    if (head == contents.pairs.end() || embedding == contents.pairs.end()) return;
    const Found &own = head->second, &other = embedding->second;
    if (own.a == nullptr || own.b == nullptr || other.a == nullptr || other.b == nullptr) return;
    same(*own.a, *other.b, true);
    same(*own.b, *other.a, true);
    contents.pairs.erase(head);
  }
}

}  // namespace lowrank::lora
