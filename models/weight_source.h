// Where the weights of a decoder come from: mapped files, a random start, or tensors of a test.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace lowrank::models {

/// What a weight is in a new model.
struct Initial {
  enum class Kind { kNormal, kOnes, kZeros } kind = Kind::kNormal;
  double factor = 1;  // of the deviation, which is the config's initializer_range
};

class WeightSource {
 public:
  virtual ~WeightSource() = default;
  /// The tensor of this Hugging Face name with this shape; ModelError naming it otherwise. Weights of linear layers and
  /// the embedding may keep the file's dtype (they are converted as they are used). Tensors that require grad are
  /// trained.
  virtual at::Tensor take(const std::string& name, const std::vector<std::int64_t>& shape, const Initial& initial) = 0;
  /// Under which name the files have this tensor: their prefix may be another than the model's.
  virtual std::string stored_name(const std::string& name) const { return name; }
  /// The run's dtype: of the residual stream and the outputs of linear layers.
  virtual at::ScalarType dtype() const { return at::kFloat; }
};

}  // namespace lowrank::models
