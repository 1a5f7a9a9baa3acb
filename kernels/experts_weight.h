// The weights of a layer's experts as one operand: E matrices [out, in], wherever they lie.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "lowrank/kernels/base_weight.h"

namespace lowrank::kernels {

/// W [E, out, in] and a bias [E, out] (undefined: none). Each expert's matrix is one or several BaseWeights whose rows
/// follow each other (gate and up, where files keep them apart).
class ExpertsWeight {
 public:
  ExpertsWeight() = default;
  /// Of tensors [out_p, in] by expert and by part.
  static ExpertsWeight of_parts(std::vector<std::vector<at::Tensor>> parts, at::Tensor bias = {});
  /// Of one tensor [E, out, in], or [E, in, out] where it is `transposed`.
  static ExpertsWeight stacked(const at::Tensor& tensor, bool transposed, at::Tensor bias = {});
  /// Of frozen weights [out_p, in] by expert and by part, in storages of any form.
  static ExpertsWeight of_storages(const std::vector<std::vector<std::shared_ptr<const BaseStorage>>>& storages,
                                   at::Tensor bias = {});

  std::int64_t experts() const { return experts_; }
  std::int64_t in_features() const { return in_; }
  std::int64_t out_features() const { return out_; }
  at::ScalarType dtype() const { return dtype_; }
  at::Device device() const { return device_; }
  const at::Tensor& bias() const { return bias_; }

  /// The matrices that expert `e` is made of, from the first rows on.
  std::vector<BaseWeight> parts(std::int64_t e) const;
  /// W of expert `e` [out, in] in `dtype`, in whole; recorded where it is trained.
  at::Tensor matrix(std::int64_t e, at::ScalarType dtype) const;

  /// Whether autograd wants gradients of the weights: then leaves() are the tensors that it wants them of, and
  /// views_in(like, e) the places [out_p, in] of expert e's parts in tensors that are shaped as these.
  bool trains() const;
  const std::vector<at::Tensor>& leaves() const { return leaves_; }
  std::vector<at::Tensor> views_in(const std::vector<at::Tensor>& like, std::int64_t e) const;

 private:
  std::int64_t experts_ = 0, in_ = 0, out_ = 0;
  at::ScalarType dtype_ = at::kFloat;
  at::Device device_ = at::kCPU;
  at::Tensor bias_;
  std::vector<at::Tensor> leaves_;  // by expert and part, or one
  bool stacked_ = false, transposed_ = false;
  std::vector<std::vector<BaseWeight>> frozen_;  // where nothing is trained
};

}  // namespace lowrank::kernels
