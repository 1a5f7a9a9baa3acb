// What frozen weights have in common that are kept in codes: panels decoded as they are asked for.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lowrank/kernels/base_storage.h"
#include "lowrank/kernels/decoded_rows.h"

namespace lowrank::kernels {

/// W [out, in] in codes, on `device` as its panels are. No panel takes more memory than it has elements in its own dtype and a
/// few rows of fp32.
class CodedStorage : public BaseStorage {
 public:
  /// `original`: the weight [out, in] that the codes were made of, a view of a mapped file; undefined where it is gone.
  CodedStorage(std::int64_t out, std::int64_t in, at::Tensor original, at::Device device);

  std::int64_t out_features() const override { return out_; }
  std::int64_t in_features() const override { return in_; }
  at::ScalarType dtype() const override { return at::kFloat; }
  at::Device device() const override { return device_; }
  at::Tensor rows(std::int64_t begin, std::int64_t n, at::ScalarType dtype) const override;
  at::Tensor columns(std::int64_t begin, std::int64_t n, at::ScalarType dtype) const override;
  at::Tensor rows_at(const at::Tensor& ids) const override;
  at::Tensor original() const override { return original_; }

 protected:
  /// W[row, column, column + n) into to[0, n), in fp32.
  virtual void decode(std::int64_t row, std::int64_t column, std::int64_t n, float* to) const = 0;
  /// The same where it lies on a device that is not the CPU.
  virtual DecodedOnDevice decoded_there() const = 0;

 private:
  template <typename RowOf>
  at::Tensor panel(std::int64_t rows, const RowOf& row_of, std::int64_t column, std::int64_t columns,
                   at::ScalarType dtype) const;

  std::int64_t out_, in_;
  at::Tensor original_;
  at::Device device_;
};

}  // namespace lowrank::kernels
