// Normalisation: what a family says of a norm, and the norm itself.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/models/blocks/scope.h"

namespace lowrank::models {

struct NormSpec {
  enum class Kind {
    kNone,
    kRms,         // x̂ rounded to the run's dtype, times w (Llama)
    kWideRms,     // x̂ · w, rounded once (OLMo 2)
    kRmsPlusOne,  // x̂ · (1 + w), rounded once (Gemma)
    kLayer,       // LayerNorm
  };
  Kind kind = Kind::kNone;
  std::string name = {};  // in the scope of its block: "input_layernorm"
  double eps = 1e-6;
  bool bias = false;  // of kLayer
  bool weight = true;
  std::int64_t heads = 0;  // each of so many heads has a norm of its own ("q_layernorm.norms.0"); 0: one for all
};

class Norm {
 public:
  /// None: what it is given.
  Norm() = default;
  /// Over the last `width` columns.
  Norm(const NormSpec& spec, std::int64_t width, const Scope& scope);

  /// x [T, …, width] in the run's dtype; of a norm by heads [T, heads, width].
  at::Tensor forward(const at::Tensor& x) const;
  explicit operator bool() const { return spec_.kind != NormSpec::Kind::kNone; }

 private:
  NormSpec spec_;
  lora::WholeModule parameters_;
  std::vector<Norm> by_head_;
};

}  // namespace lowrank::models
