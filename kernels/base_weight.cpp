#include "lowrank/kernels/base_weight.h"

#include <string>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/gemm.h"

namespace lowrank::kernels {

namespace {

// A tensor [out, in] or [in, out], or some of its output rows.
class DenseStorage : public BaseStorage {
 public:
  DenseStorage(at::Tensor tensor, Layout layout) : tensor_(std::move(tensor)), layout_(layout) {
    const std::int64_t all = tensor_.size(axis());
    if (layout_.rows < 0) layout_.rows = all - layout_.row_begin;
    if (layout_.row_begin < 0 || layout_.rows < 0 || layout_.row_begin + layout_.rows > all)
      throw InternalError("kernels::BaseWeight: the rows [" + std::to_string(layout_.row_begin) + ", " +
                          std::to_string(layout_.row_begin + layout_.rows) + ") of " + std::to_string(all) +
                          " are asked for");
  }

  std::int64_t out_features() const override { return layout_.rows; }
  std::int64_t in_features() const override { return tensor_.size(1 - axis()); }
  at::ScalarType dtype() const override { return tensor_.scalar_type(); }
  at::Device device() const override { return tensor_.device(); }
  at::Tensor rows(std::int64_t begin, std::int64_t n, at::ScalarType dtype) const override {
    return turned(converted(tensor_.detach().narrow(axis(), layout_.row_begin + begin, n), dtype));
  }
  at::Tensor columns(std::int64_t begin, std::int64_t n, at::ScalarType dtype) const override {
    const at::Tensor own = tensor_.detach().narrow(axis(), layout_.row_begin, layout_.rows);
    return turned(converted(own.narrow(1 - axis(), begin, n), dtype));
  }
  at::Tensor rows_at(const at::Tensor& ids) const override {
    const at::Tensor own = view();
    return own.requires_grad() ? aten::embedding(own, ids) : own.index_select(0, ids);
  }
  bool gives_views(at::ScalarType dtype) const override {
    return tensor_.scalar_type() == dtype && (tensor_.stride(1) == 1 || tensor_.size(1) == 1);
  }
  bool transposed() const override { return layout_.transposed; }
  at::Tensor trained() const override { return tensor_.requires_grad() ? view() : at::Tensor(); }

 private:
  std::int64_t axis() const { return layout_.transposed ? 1 : 0; }  // of the output rows
  at::Tensor turned(const at::Tensor& panel) const { return layout_.transposed ? panel.t() : panel; }
  // The tensor itself where it is W. Made anew each time: a trainer may move a leaf's values (set_data).
  at::Tensor view() const {
    if (!layout_.transposed && layout_.rows == tensor_.size(0)) return tensor_;
    return turned(tensor_.narrow(axis(), layout_.row_begin, layout_.rows));
  }

  at::Tensor tensor_;
  Layout layout_;
};

void check_range(std::int64_t begin, std::int64_t n, std::int64_t all) {
  if (begin < 0 || n < 0 || begin + n > all)
    throw InternalError("kernels::BaseWeight: a panel [" + std::to_string(begin) + ", " + std::to_string(begin + n) +
                        ") of " + std::to_string(all) + " is asked for");
}

}  // namespace

BaseWeight::BaseWeight(std::shared_ptr<const BaseStorage> storage, at::Tensor bias)
    : storage_(std::move(storage)), bias_(std::move(bias)) {
  if (bias_.defined() && (bias_.dim() != 1 || bias_.size(0) != out_features())) {
    throw InternalError("kernels::BaseWeight: a bias [out] is expected beside a weight [" +
                        std::to_string(out_features()) + ", " + std::to_string(in_features()) + "]");
  }
}

BaseWeight BaseWeight::dense(at::Tensor weight, at::Tensor bias, Layout layout) {
  if (!weight.defined() || weight.dim() != 2) {
    throw InternalError("kernels::BaseWeight: a weight [out, in] is expected");
  }
  return BaseWeight(std::make_shared<DenseStorage>(std::move(weight), layout), std::move(bias));
}

at::Tensor BaseWeight::rows(std::int64_t begin, std::int64_t n, at::ScalarType dtype) const {
  check_range(begin, n, out_features());
  return storage_->rows(begin, n, dtype);
}

at::Tensor BaseWeight::columns(std::int64_t begin, std::int64_t n, at::ScalarType dtype) const {
  check_range(begin, n, in_features());
  return storage_->columns(begin, n, dtype);
}

bool BaseWeight::trains() const { return storage_->trained().defined(); }

at::Tensor BaseWeight::trained() const {
  at::Tensor leaf = storage_->trained();
  if (!leaf.defined()) throw InternalError("kernels::BaseWeight: a frozen weight was taken for a trained one");
  return leaf;
}

}  // namespace lowrank::kernels
