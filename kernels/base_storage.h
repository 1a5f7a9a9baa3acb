// What a form in which base weights lie in memory says of itself: dense here; int8, NF4, a GGUF file's blocks or a
// rank's shard are one class each.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "lowrank/kernels/weight_codes.h"

namespace lowrank::kernels {

/// A weight W [out, in], however it is kept. Panels are detached and may be views; one of their strides is 1.
class BaseStorage {
 public:
  virtual ~BaseStorage() = default;
  virtual std::int64_t out_features() const = 0;
  virtual std::int64_t in_features() const = 0;
  /// A float dtype that holds its values: a dense weight's own.
  virtual at::ScalarType dtype() const = 0;
  virtual at::Device device() const = 0;
  /// W[begin, begin + n) [n, in] in `dtype`.
  virtual at::Tensor rows(std::int64_t begin, std::int64_t n, at::ScalarType dtype) const = 0;
  /// W[:, begin, begin + n) [out, n] in `dtype`.
  virtual at::Tensor columns(std::int64_t begin, std::int64_t n, at::ScalarType dtype) const = 0;
  /// W's rows at ids int64 [T], each in [0, out) -> [T, in] in dtype(); recorded where W is trained.
  virtual at::Tensor rows_at(const at::Tensor& ids) const = 0;
  /// Whether panels in this dtype are views: then they cost nothing, however large.
  virtual bool gives_views(at::ScalarType /*dtype*/) const { return false; }
  /// Its codes, where products read them as they lie.
  virtual WeightCodes codes() const { return {}; }
  /// Whether it is kept as [in, out].
  virtual bool transposed() const { return false; }
  /// W [out, in] as autograd knows it: the trained leaf, or a view of it with its history; undefined where W is frozen.
  virtual at::Tensor trained() const { return {}; }
  /// The weight [out, in] of which this is a coarser form, where that is at hand; undefined otherwise.
  virtual at::Tensor original() const { return {}; }
};

}  // namespace lowrank::kernels
