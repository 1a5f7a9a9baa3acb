#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/kernels/lora_linear.h"

namespace lowrank::kernels {

BaseWeight::BaseWeight(at::Tensor weight, at::Tensor bias) : weight_(std::move(weight)), bias_(std::move(bias)) {
  if (!weight_.defined() || weight_.dim() != 2) {
    throw InternalError("kernels::BaseWeight: a weight [out, in] is expected");
  }
  if (bias_.defined() && (bias_.dim() != 1 || bias_.size(0) != weight_.size(0))) {
    throw InternalError("kernels::BaseWeight: a bias [out] is expected beside a weight [" +
                        std::to_string(weight_.size(0)) + ", " + std::to_string(weight_.size(1)) + "]");
  }
}

}  // namespace lowrank::kernels
