#include "lowrank/lora/update_norms.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "lowrank/kernels/rows.h"
#include "lowrank/lora/delta.h"

namespace lowrank::lora {
namespace {

double squared_norm(const at::Tensor& tensor) {
  const at::Tensor wide = tensor.to(at::kDouble).flatten();
  return wide.dot(wide).item<double>();
}

// Σ w² in row blocks, so that a mapped bf16 weight is never whole in fp64.
double squared_norm(const kernels::BaseWeight& weight) {
  const std::int64_t rows = weight.out_features(), block = rows_per_block(weight.in_features());
  double sum = 0;
  for (std::int64_t begin = 0; begin < rows; begin += block)
    sum += squared_norm(weight.rows(begin, std::min(block, rows - begin), at::kDouble));
  return sum;
}

// ‖W' − W‖ in row blocks, for an update that is no product of factors.
double dense_norm(const kernels::BaseWeight& weight, const LoraMatrices& lora) {
  const std::int64_t rows = weight.out_features(), block = rows_per_block(weight.in_features());
  double sum = 0;
  for (std::int64_t begin = 0; begin < rows; begin += block) {
    const std::int64_t end = std::min(begin + block, rows);
    const at::Tensor wide = weight.rows(begin, end - begin, at::kFloat);
    sum += squared_norm(merged_rows(wide, lora, begin, end).sub(wide));
  }
  return std::sqrt(sum);
}

// Of all experts together, each by one thread.
UpdateNorm norm_of(const ExpertsSlotImpl& slot, const LoraMatrices& lora) {
  const std::int64_t experts = slot.experts();
  std::vector<double> moved(static_cast<std::size_t>(experts)), base(moved.size());
  kernels::for_row_chunks(experts, 1, [&](std::int64_t e, std::int64_t) {
    const double delta = delta_norm({slot.path(), lora.a, lora.b, lora.scale, experts, e});
    moved[static_cast<std::size_t>(e)] = delta * delta;
    for (const kernels::BaseWeight& part : slot.weight().parts(e))
      base[static_cast<std::size_t>(e)] += squared_norm(part);
  });
  return {slot.path(), std::sqrt(std::accumulate(moved.begin(), moved.end(), 0.0)),
          std::sqrt(std::accumulate(base.begin(), base.end(), 0.0))};
}

// Of a trained copy: the weight's under the module's own name, the bias's beside it.
UpdateNorm change_of(const WholeModuleImpl& module, const NamedTensor& copy) {
  const auto rows = [](const at::Tensor& tensor) { return tensor.dim() == 1 ? tensor.unsqueeze(0) : tensor; };
  for (const NamedTensor& own : module.base()) {
    if (own.name != copy.name) continue;
    const at::Tensor base = rows(own.tensor.detach()), now = rows(copy.tensor.detach());
    const std::int64_t count = base.size(0), block = rows_per_block(base.size(1));
    double moved = 0, sum = 0;
    for (std::int64_t begin = 0; begin < count; begin += block) {
      const std::int64_t end = std::min(begin + block, count);
      moved += squared_norm(now.slice(0, begin, end).sub(base.slice(0, begin, end)));
      sum += squared_norm(base.slice(0, begin, end));
    }
    return {copy.name == "weight" ? module.path() : module.path() + "." + copy.name, std::sqrt(moved), std::sqrt(sum)};
  }
  return {module.path(), 0, 0};
}

}  // namespace

std::vector<Factors> factors_of(const Adapter& adapter) {
  std::vector<Factors> all;
  all.reserve(adapter.slots().size());
  for (const LinearSlot& slot : adapter.slots()) {
    const LoraMatrices& matrices = adapter.at(slot);
    all.push_back({slot->path(), matrices.a, matrices.b, matrices.scale});
  }
  for (const ExpertsSlot& slot : adapter.experts()) {
    const LoraMatrices& matrices = adapter.at(slot);
    for (std::int64_t e = 0; e < slot->experts(); ++e)
      all.push_back({slot->path(), matrices.a, matrices.b, matrices.scale, slot->experts(), e});
  }
  return all;
}

Grams grams_of(const Factors& factors) {
  const at::Tensor a = factors.matrix_a().to(at::kDouble), b = factors.matrix_b().to(at::kDouble);
  return {a.matmul(a.t()), b.t().matmul(b)};
}

double delta_norm(const Factors& factors) {
  const Grams grams = grams_of(factors);
  return std::abs(factors.scale) * std::sqrt(std::max(0.0, grams.a.mul(grams.b).sum().item<double>()));
}

std::vector<UpdateNorm> update_norms(const Adapter& adapter) {
  const at::NoGradGuard no_grad;
  const std::vector<LinearSlot>& slots = adapter.slots();
  std::vector<UpdateNorm> norms(slots.size());
  kernels::for_row_chunks(static_cast<std::int64_t>(slots.size()), 1, [&](std::int64_t first, std::int64_t last) {
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
      const LoraMatrices& lora = adapter.at(slots[i]);
      const LoraMatrices whole = plain(lora);
      const double delta = lora.magnitude.defined() ? dense_norm(slots[i]->base(), lora)
                                                    : delta_norm({slots[i]->path(), whole.a, whole.b, whole.scale});
      norms[i] = {slots[i]->path(), delta, std::sqrt(squared_norm(slots[i]->base()))};
    }
  });
  for (const ExpertsSlot& slot : adapter.experts()) norms.push_back(norm_of(*slot, adapter.at(slot)));
  kernels::for_row_chunks(1, 1, [&](std::int64_t, std::int64_t) {  // as above, each by one thread
    if (adapter.adapts_embedding()) {
      const EmbeddingSlotImpl& embedding = *adapter.embedding();
      const LoraMatrices rows = by_rows(embedding.lora(adapter.name()));
      norms.push_back({embedding.path(), delta_norm({embedding.path(), rows.a, rows.b, rows.scale}),
                       std::sqrt(squared_norm(embedding.base()))});
    }
    for (const WholeModule& module : adapter.whole())
      for (const NamedTensor& copy : module->copies(adapter.name())) norms.push_back(change_of(*module, copy));
  });
  return norms;
}

}  // namespace lowrank::lora
