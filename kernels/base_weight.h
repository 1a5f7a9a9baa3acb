// The weight of a linear layer or an embedding as operand: nobody outside kernels/ sees how or where it lies.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "lowrank/kernels/base_storage.h"

namespace lowrank::kernels {

/// How W [out, in] lies in a dense tensor.
struct Layout {
  bool transposed = false;     // the tensor is [in, out], as GPT-2's Conv1D has it
  std::int64_t row_begin = 0;  // W is the output rows [row_begin, row_begin + rows) of a larger weight
  std::int64_t rows = -1;      // -1: to the last
};

/// W [out, in] and a bias [out] (undefined: none), shared by its copies. Frozen, unless it is dense and its tensor
/// requires grad.
class BaseWeight {
 public:
  BaseWeight() = default;
  /// Of a tensor of any float dtype, often a read-only view of a mapped file, used where it lies. `bias` is that of W's
  /// rows. InternalError where shapes do not fit.
  static BaseWeight dense(at::Tensor weight, at::Tensor bias = {}, Layout layout = {});
  explicit BaseWeight(std::shared_ptr<const BaseStorage> storage, at::Tensor bias = {});

  bool defined() const { return storage_ != nullptr; }
  std::int64_t in_features() const { return storage_->in_features(); }
  std::int64_t out_features() const { return storage_->out_features(); }
  at::ScalarType dtype() const { return storage_->dtype(); }
  at::Device device() const { return storage_->device(); }
  bool transposed() const { return storage_->transposed(); }
  const at::Tensor& bias() const { return bias_; }
  /// The same weight with another bias, or with none.
  BaseWeight with_bias(at::Tensor bias) const { return BaseWeight(storage_, std::move(bias)); }
  /// Whether both are one weight, in one place.
  bool same(const BaseWeight& other) const { return storage_ == other.storage_; }

  /// Panels, as BaseStorage gives them: never a whole copy of the weight unless all of it is asked for.
  at::Tensor rows(std::int64_t begin, std::int64_t n, at::ScalarType dtype) const;
  at::Tensor columns(std::int64_t begin, std::int64_t n, at::ScalarType dtype) const;
  at::Tensor rows_at(const at::Tensor& ids) const { return storage_->rows_at(ids); }
  bool gives_views(at::ScalarType dtype) const { return storage_->gives_views(dtype); }
  WeightCodes codes() const { return storage_->codes(); }
  at::Tensor original() const { return storage_->original(); }

  /// Whether autograd wants a gradient of it; then trained() is W [out, in] with its history: the leaf itself, or a
  /// view of it. InternalError for the trained() of a frozen weight.
  bool trains() const;
  at::Tensor trained() const;

 private:
  std::shared_ptr<const BaseStorage> storage_;
  at::Tensor bias_;
};

}  // namespace lowrank::kernels
