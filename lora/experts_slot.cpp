#include "lowrank/lora/experts_slot.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/lora/delta.h"

namespace lowrank::lora {
namespace {

// As kernels::ExpertsLora has them.
at::Tensor by_expert_a(const at::Tensor& a, std::int64_t experts) { return a.view({experts, -1, a.size(1)}); }
at::Tensor by_expert_b(const at::Tensor& b, std::int64_t experts) {
  return b.view({b.size(0), -1, experts}).permute({2, 0, 1});
}

std::string child(const char* factor, const std::string& adapter) {
  return adapter == kDefaultAdapter ? factor : fmt::format("{}_{}", factor, adapter);
}

}  // namespace

LoraMatrices matrices_of(const LoraMatrices& lora, std::int64_t experts, std::int64_t expert, std::int64_t begin,
                         std::int64_t rows) {
  LoraMatrices one = lora;
  one.a = by_expert_a(lora.a.detach(), experts).select(0, expert);
  one.b = by_expert_b(lora.b.detach(), experts).select(0, expert).narrow(0, begin, rows);
  return one;
}

ExpertsSlotImpl::ExpertsSlotImpl(ExpertsBase base)
    : base_(std::move(base)), path_(base_.owner + "." + base_.parameter), module_(holder_module("ExpertsSlot")) {}

at::Tensor ExpertsSlotImpl::forward(const at::Tensor& x, const kernels::SharedRows& rows, bool by_token) {
  if (merged()) {
    if (at::GradMode::is_enabled() && x.requires_grad())
      throw ConfigError(
          fmt::format("{} is merged, and its adapter cannot be trained like that; call unmerge() first", path_));
    return kernels::experts_linear(x, rows, by_token, merged_, {});
  }
  std::vector<kernels::ExpertsLora> operands;
  for (const auto& one : adapters_) {
    if (!one.enabled) continue;
    operands.push_back({by_expert_a(one.value.a, experts()), by_expert_b(one.value.b, experts()), one.value.scale});
  }
  return kernels::experts_linear(x, rows, by_token, base_.weight, operands);
}

void ExpertsSlotImpl::attach(LoraMatrices matrices, const std::string& adapter) {
  adapters_.require_free(adapter, path_);
  const std::int64_t rank = matrices.r * experts();
  const std::int64_t in = weight().in_features(), out = weight().out_features();
  if (matrices.a.sizes() != at::IntArrayRef({rank, in}) || matrices.b.sizes() != at::IntArrayRef({out, rank}))
    throw ModelError(fmt::format("{}: lora_A must be [{}, {}] and lora_B [{}, {}], {} experts of rank {}", path_, rank,
                                 in, out, rank, experts(), matrices.r));
  unmerge();
  add_module(module_, child("lora_A", adapter), factor_module(matrices.a));
  add_module(module_, child("lora_B", adapter), factor_module(matrices.b));
  adapters_.add(adapter, path_, std::move(matrices));
}

void ExpertsSlotImpl::detach(const std::string& adapter) {
  if (!adapted(adapter)) return;
  unmerge();
  for (const char* factor : {"lora_A", "lora_B"}) remove_module(module_, child(factor, adapter));
  adapters_.remove(adapter);
}

bool ExpertsSlotImpl::trains() const { return (enabled() && !merged()) || weight().trains(); }

std::int64_t ExpertsSlotImpl::kept_per_row() const {
  std::int64_t values = 0;
  for (const auto& one : adapters_) values += one.enabled ? one.value.r : 0;
  return values;
}

void ExpertsSlotImpl::merge() {
  if (!enabled() || merged()) return;
  const LoraMatrices& lora = *adapters_.the_enabled(path_);
  const at::NoGradGuard no_grad;
  const std::int64_t out = weight().out_features();
  const at::Tensor sum = kernels::aten::empty({experts(), out, weight().in_features()},
                                              at::TensorOptions(weight().dtype()).device(weight().device()));
  for (std::int64_t e = 0; e < experts(); ++e) {
    const at::Tensor base = weight().matrix(e, weight().dtype());
    sum.select(0, e).copy_(merged_rows(base, matrices_of(lora, experts(), e, 0, out), 0, out));
  }
  merged_ = kernels::ExpertsWeight::stacked(sum, /*transposed=*/false, weight().bias());
}

void ExpertsSlotImpl::unmerge() { merged_ = kernels::ExpertsWeight(); }

}  // namespace lowrank::lora
