#include "lowrank/lora/export_gguf.h"

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/formats/gguf.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/kernels/aten.h"

namespace lowrank::lora {

namespace {

formats::GgmlType ggml_type(at::ScalarType type) {
  if (type == at::kHalf) return formats::GgmlType::kF16;
  return type == at::kBFloat16 ? formats::GgmlType::kBF16 : formats::GgmlType::kF32;
}

/// llama.cpp's general.file_type.
std::uint32_t file_type(at::ScalarType type) { return type == at::kHalf ? 1 : type == at::kBFloat16 ? 32 : 0; }

void refuse(const Adapter& adapter, const std::string& what) {
  throw ModelError(fmt::format("a GGUF adapter cannot hold {}{}: merge the adapter into the model instead", what,
                               adapter.directory().empty() ? "" : fmt::format(" (of {})", adapter.directory().string())));
}

/// Rows [heads, 2, half] as [heads, half, 2].
at::Tensor neighbours(const at::Tensor& rows, std::int64_t heads) {
  if (heads == 0) return rows;
  const std::int64_t half = rows.size(0) / heads / 2;
  return rows.reshape({heads, 2, half, rows.size(1)}).transpose(1, 2).reshape(rows.sizes()).contiguous();
}

struct Part {
  std::string tensor;
  at::Tensor a, b;
  std::int64_t r = 0;
  double scale = 1;
};

/// A [E, r, in] and B [E, rows, r] of all experts, of B the rows from `begin` on.
std::pair<at::Tensor, at::Tensor> by_expert(const ExpertsSlotImpl& slot, const LoraMatrices& lora, std::int64_t begin, std::int64_t rows) {
  std::vector<at::Tensor> a, b;
  for (std::int64_t expert = 0; expert < slot.experts(); ++expert) {
    const LoraMatrices own = matrices_of(lora, slot.experts(), expert, begin, rows);
    a.push_back(own.a.detach().unsqueeze(0));
    b.push_back(own.b.detach().unsqueeze(0));
  }
  return {kernels::aten::cat(a), kernels::aten::cat(b)};
}

/// The alpha that most parts say by themselves.
double common_alpha(const std::vector<Part>& parts) {
  std::map<double, std::size_t> counts;
  for (const Part& part : parts) ++counts[part.scale * static_cast<double>(part.r)];
  double best = 0;
  std::size_t most = 0;
  for (const auto& [alpha, count] : counts) {
    if (count <= most) continue;
    best = alpha;
    most = count;
  }
  return best;
}

}  // namespace

GgufAdapter export_gguf(const Adapter& adapter, const GgufLayout& layout, at::ScalarType type, const std::string& name,
                        const std::filesystem::path& out) {
  if (adapter.config().use_dora) refuse(adapter, "DoRA's magnitudes");
  if (!adapter.whole().empty()) refuse(adapter, fmt::format("a trained copy of {}", adapter.whole().front()->path()));
  std::vector<Part> parts;
  const auto add = [&](const std::string& path, at::Tensor a, at::Tensor b, std::int64_t r, double scale) {
    const std::string tensor = layout.tensor_of(path);
    if (tensor.empty())
      refuse(adapter, fmt::format("the layer {}, for which the architecture {} has no tensor", path, layout.architecture));
    parts.push_back({tensor, std::move(a), std::move(b), r, scale});
  };
  if (adapter.adapts_embedding()) {
    const LoraMatrices& lora = adapter.embedding()->lora(adapter.name());
    add(adapter.embedding()->path(), lora.a.detach().t(), lora.b.detach(), lora.r, lora.scale);
  }
  for (const LinearSlot& slot : adapter.slots()) {
    const LoraMatrices lora = plain(adapter.at(slot));
    add(slot->path(), lora.a.detach(), neighbours(lora.b.detach(), layout.permuted_heads(slot->path())), lora.r,
        lora.scale);
  }
  for (const ExpertsSlot& slot : adapter.experts()) {
    const std::vector<std::string> tensors = layout.expert_tensors_of(slot->path());
    if (tensors.empty())
      refuse(adapter, fmt::format("the experts {}, for which the architecture {} has no tensor", slot->path(), layout.architecture));
    const std::int64_t rows = slot->weight().out_features() / static_cast<std::int64_t>(tensors.size());
    for (std::size_t part = 0; part < tensors.size(); ++part) {
      const auto [a, b] = by_expert(*slot, adapter.at(slot), static_cast<std::int64_t>(part) * rows, rows);
      parts.push_back({tensors[part], a, b, a.size(1), adapter.at(slot).scale});
    }
  }

  GgufAdapter result;
  result.modules = static_cast<std::int64_t>(parts.size());
  result.alpha = common_alpha(parts);
  std::vector<formats::GgufTensor> tensors;
  for (const Part& part : parts) {
    const double factor = part.scale * static_cast<double>(part.r) / result.alpha;
    const bool rescaled = std::abs(factor - 1) > 1e-12;
    if (rescaled) ++result.rescaled;
    const auto tensor = [&](const char* half, const at::Tensor& values) {
      const at::Tensor stored = values.to(type).contiguous();
      if (!stored.isfinite().all().item<bool>())
        throw ModelError(fmt::format("{} is not finite in this type: export in float32", part.tensor));
      tensors.push_back({part.tensor + half, stored.sizes().vec(), ggml_type(type),
                         [stored](const auto& sink) { sink(formats::tensor_bytes(stored)); }});
    };
    tensor(".lora_a", part.a);
    tensor(".lora_b", rescaled ? part.b.mul(factor) : part.b);
  }
  formats::GgufValues values = {{"general.type", std::string("adapter")},
                                      {"general.architecture", layout.architecture},
                                      {"general.name", name},
                                      {"general.file_type", file_type(type)},
                                      {"adapter.type", std::string("lora")},
                                      {"adapter.lora.alpha", static_cast<float>(result.alpha)}};
  const auto& invocation = adapter.config().alora_invocation_tokens;
  if (!invocation.empty())
    values.emplace_back("adapter.alora.invocation_tokens", std::vector<std::uint32_t>(invocation.begin(), invocation.end()));
  formats::write_gguf(out, values, tensors);
  return result;
}

}  // namespace lowrank::lora
