// Where the weights of a decoder come from: mapped files, a random start, or tensors of a test.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/kernels/base_storage.h"

namespace lowrank::models {

/// What a weight is in a new model.
struct Initial {
  enum class Kind {
    kNormal,
    kOnes,
    kZeros,
    kLogUniform,  // log u, u uniform in [0.01, 16): the rates of the delta rule's decay
  } kind = Kind::kNormal;
  double factor = 1;  // of kNormal's deviation, which is the config's initializer_range
};

/// A linear layer's matrix W [out, in], or an expert's.
struct CodedWeight {
  std::string tensor;        // its name
  std::int64_t expert = -1;  // which one of a tensor of all experts [E, …]
  bool transposed = false;   // stored [in, out]
  std::int64_t out = 0, in = 0;
  std::int64_t experts = 0;  // of the tensor

  std::string key() const { return expert < 0 ? tensor : tensor + "." + std::to_string(expert); }
  /// The tensor's.
  std::vector<std::int64_t> shape() const;
};

class WeightSource {
 public:
  virtual ~WeightSource() = default;
  /// The tensor of this Hugging Face name with this shape; ModelError naming it otherwise. Weights of linear layers and
  /// the embedding may keep the file's dtype (they are converted as they are used). Tensors that require grad are
  /// trained.
  virtual at::Tensor take(const std::string& name, const std::vector<std::int64_t>& shape, const Initial& initial) = 0;
  /// Whether there is a tensor of this name: of those that may be kept in several forms.
  virtual bool holds(const std::string& /*name*/) const { return false; }
  /// Bytes as they lie (uint8), of what is packed; where `holds` says that they are there.
  virtual at::Tensor take_bytes(const std::string& name, const std::vector<std::int64_t>& shape);
  /// W [out, in] of this name in codes, where the run keeps such weights so; null: as take() gives it.
  virtual std::shared_ptr<const kernels::BaseStorage> coded(const CodedWeight& /*weight*/) { return nullptr; }
  /// W [out, in] of this name where this process holds a share of it alone; null: as coded() or take() gives it.
  virtual std::shared_ptr<const kernels::BaseStorage> sharded(const CodedWeight& /*weight*/) { return nullptr; }
  /// Under which name the files have this tensor: their prefix may be another than the model's.
  virtual std::string stored_name(const std::string& name) const { return name; }
  /// The run's dtype: of the residual stream and the outputs of linear layers.
  virtual at::ScalarType dtype() const { return at::kFloat; }
};

}  // namespace lowrank::models
