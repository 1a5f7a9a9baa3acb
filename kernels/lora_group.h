// Linear layers with adapters that read one input: queries, keys and values, or gate and up.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "lowrank/kernels/lora_linear.h"

namespace lowrank::kernels {

/// What lora_linear takes beside x.
struct LoraLayer {
  BaseWeight base;
  std::vector<LoraOperand> adapters;
};

/// lora_linear of every layer for one x [T, in]. Where our own kernels form the products, frozen bases without dropout
/// and DoRA are one product: x is packed once, and its gradient is one sum.
std::vector<at::Tensor> lora_linears(const at::Tensor& x, std::span<const LoraLayer> layers,
                                     const DropoutContext* dropout);

}  // namespace lowrank::kernels
