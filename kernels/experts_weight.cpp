#include "lowrank/kernels/experts_weight.h"

#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"

namespace lowrank::kernels {

ExpertsWeight ExpertsWeight::of_parts(std::vector<std::vector<at::Tensor>> parts, at::Tensor bias) {
  if (parts.empty() || parts.front().empty()) throw InternalError("kernels::ExpertsWeight: there are no experts");
  ExpertsWeight result;
  result.experts_ = static_cast<std::int64_t>(parts.size());
  for (const at::Tensor& part : parts.front()) result.out_ += part.size(0);
  const at::Tensor& first = parts.front().front();
  result.in_ = first.size(1), result.dtype_ = first.scalar_type(), result.device_ = first.device();
  result.bias_ = std::move(bias);
  for (const auto& expert : parts) {
    std::int64_t out = 0;
    for (const at::Tensor& part : expert) {
      if (part.dim() != 2 || part.size(1) != result.in_ || part.scalar_type() != result.dtype_) {
        throw InternalError("kernels::ExpertsWeight: matrices of one width and dtype are expected");
      }
      out += part.size(0);
      result.leaves_.push_back(part);
    }
    if (expert.size() != parts.front().size() || out != result.out_) {
      throw InternalError("kernels::ExpertsWeight: the experts differ in shape");
    }
  }
  if (!result.trains()) {
    for (const auto& expert : parts) {
      auto& own = result.frozen_.emplace_back();
      for (const at::Tensor& part : expert) own.push_back(BaseWeight::dense(part));
    }
  }
  return result;
}

ExpertsWeight ExpertsWeight::stacked(const at::Tensor& tensor, bool transposed, at::Tensor bias) {
  if (tensor.dim() != 3 || tensor.size(0) == 0) {
    throw InternalError("kernels::ExpertsWeight: a tensor [E, out, in] is expected");
  }
  ExpertsWeight result;
  result.experts_ = tensor.size(0);
  result.out_ = tensor.size(transposed ? 2 : 1), result.in_ = tensor.size(transposed ? 1 : 2);
  result.dtype_ = tensor.scalar_type(), result.device_ = tensor.device();
  result.bias_ = std::move(bias);
  result.leaves_ = {tensor};
  result.stacked_ = true, result.transposed_ = transposed;
  if (!result.trains()) {
    for (std::int64_t e = 0; e < result.experts_; ++e) {
      result.frozen_.push_back({BaseWeight::dense(tensor.select(0, e), {}, {.transposed = transposed})});
    }
  }
  return result;
}

ExpertsWeight ExpertsWeight::of_storages(const std::vector<std::vector<std::shared_ptr<const BaseStorage>>>& storages,
                                         at::Tensor bias) {
  if (storages.empty() || storages.front().empty()) throw InternalError("kernels::ExpertsWeight: there are no experts");
  ExpertsWeight result;
  const BaseStorage& first = *storages.front().front();
  result.experts_ = static_cast<std::int64_t>(storages.size());
  for (const auto& part : storages.front()) result.out_ += part->out_features();
  result.in_ = first.in_features();
  result.dtype_ = first.dtype(), result.device_ = first.device();
  result.bias_ = std::move(bias);
  for (const auto& expert : storages) {
    auto& own = result.frozen_.emplace_back();
    for (const auto& storage : expert) own.emplace_back(storage);
  }
  return result;
}

bool ExpertsWeight::trains() const { return !leaves_.empty() && leaves_.front().requires_grad(); }

std::vector<BaseWeight> ExpertsWeight::parts(std::int64_t e) const {
  if (!frozen_.empty()) return frozen_[static_cast<std::size_t>(e)];
  // Views made anew each time: a trainer may move a leaf's values (set_data).
  std::vector<BaseWeight> result;
  for (const at::Tensor& view : views_in(leaves_, e)) result.push_back(BaseWeight::dense(view.detach()));
  return result;
}

std::vector<at::Tensor> ExpertsWeight::views_in(const std::vector<at::Tensor>& like, std::int64_t e) const {
  if (stacked_) {
    const at::Tensor own = like.front().select(0, e);
    return {transposed_ ? own.t() : own};
  }
  const std::size_t count = leaves_.size() / static_cast<std::size_t>(experts_);
  const auto begin = like.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(e) * count);
  return {begin, begin + static_cast<std::ptrdiff_t>(count)};
}

at::Tensor ExpertsWeight::matrix(std::int64_t e, at::ScalarType dtype) const {
  std::vector<at::Tensor> rows;
  if (trains()) {
    for (const at::Tensor& view : views_in(leaves_, e)) rows.push_back(view.to(dtype));
  } else {
    for (const BaseWeight& part : parts(e)) rows.push_back(part.rows(0, part.out_features(), dtype));
  }
  return rows.size() == 1 ? rows.front() : aten::cat(rows);
}

}  // namespace lowrank::kernels
