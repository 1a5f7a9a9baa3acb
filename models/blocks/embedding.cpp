#include "lowrank/models/blocks/embedding.h"

#include <c10/util/BFloat16.h>
#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/host.h"

namespace lowrank::models {
namespace {

double rounded(double x, at::ScalarType dtype) {
  const auto single = static_cast<float>(x);
  return dtype == at::kBFloat16 ? static_cast<float>(c10::BFloat16(single)) : single;
}

}  // namespace

Embedding::Embedding(const EmbeddingSpec& spec, const kernels::BaseWeight& rows, std::int64_t width, const Scope& scope)
    : spec_(spec),
      dtype_(scope.dtype()),
      slot_(std::make_shared<lora::EmbeddingSlotImpl>(scope.prefix() + spec.name, rows,
                                                      scope.stored_weight(scope.prefix() + spec.name))),
      norm_(spec.norm, width, scope) {
  if (!spec.projection.empty()) projection_ = scope.linear(spec.projection, {rows.in_features(), width});
  if (!spec.positions.empty()) {
    positions_ = scope.parameters(spec.positions, {{"weight", {spec.position_rows, width}}});
  }
  if (spec.per_layer_width == 0) return;
  const std::int64_t columns = spec.per_layer_count * spec.per_layer_width;
  per_layer_table_ = scope.parameters(
      spec.name + "_per_layer", {{"weight", {spec.per_layer_rows, columns}, {}, /*fixed=*/false, /*as_stored=*/true}});
  per_layer_projection_ = scope.linear("per_layer_model_projection", {width, columns});
  per_layer_norm_ = Norm(spec.per_layer_norm, spec.per_layer_width, scope);
}

at::Tensor Embedding::forward(const at::Tensor& ids, const kernels::Segments& segments,
                              const kernels::DropoutContext* dropout, const at::Tensor& noise) const {
  const std::vector<std::int64_t> id = kernels::to_host<std::int64_t>(ids);
  const std::int64_t rows = slot_->base().out_features();
  for (std::size_t i = 0; i < id.size(); ++i) {
    if (id[i] >= 0 && id[i] < rows) continue;
    throw ModelError(
        fmt::format("token id {} at place {} is outside the model's vocabulary of {} rows; the tokenizer does "
                    "not belong to this model",
                    id[i], i, rows));
  }
  const at::Device device = slot_->base().device();
  at::Tensor x = slot_->forward(kernels::to_device(ids.contiguous(), device), dtype_);
  if (spec_.scale != 1) x = x.mul(rounded(spec_.scale, dtype_));
  if (noise.defined()) x = x.add(kernels::to_device(noise, device).to(dtype_));
  if (projection_ != nullptr) x = projection_->forward(x, dropout);
  if (positions_ != nullptr) x = x.add(positions(segments));
  return norm_.forward(x);
}

at::Tensor Embedding::per_layer(const at::Tensor& ids, const at::Tensor& x,
                                const kernels::DropoutContext* dropout) const {
  if (per_layer_table_ == nullptr) return {};
  const std::int64_t width = spec_.per_layer_width;
  const at::Tensor table = per_layer_table_->current("weight"), index = kernels::to_device(ids.contiguous(), table.device());
  const at::Tensor rows = table.requires_grad() ? kernels::aten::embedding(table, index) : table.index_select(0, index);
  const at::Tensor own = rows.to(dtype_).mul(rounded(std::sqrt(static_cast<double>(width)), dtype_));
  const at::Tensor made = per_layer_projection_->forward(x, dropout).mul(1 / std::sqrt(static_cast<double>(x.size(1))));
  const std::vector<std::int64_t> shape = {-1, spec_.per_layer_count, width};
  return per_layer_norm_.forward(made.view(shape)).add(own.view(shape)).mul(std::sqrt(0.5));
}

at::Tensor Embedding::positions(const kernels::Segments& segments) const {
  std::vector<std::int64_t> places = segments.positions();
  for (std::int64_t& place : places) {
    if (place + spec_.position_offset >= spec_.position_rows) {
      throw ModelError(fmt::format("a text has {} tokens or more, but the model has learned positions for {}; cut it",
                                   place + 1, spec_.position_rows - spec_.position_offset));
    }
    place += spec_.position_offset;
  }
  const at::Tensor weight = positions_->current("weight");
  const at::Tensor index =
      kernels::from_host<std::int64_t>(places, {static_cast<std::int64_t>(places.size())}, weight.device());
  const at::Tensor rows =
      weight.requires_grad() ? kernels::aten::embedding(weight, index) : weight.index_select(0, index);
  return rows.to(dtype_);
}

}  // namespace lowrank::models
