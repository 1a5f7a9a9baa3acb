// What an adapter has on modules of its base that the text does not pass through, such as a picture's encoder.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "lowrank/lora/linear_slot.h"
#include "lowrank/lora/whole_module.h"

namespace lowrank::lora {

/// On one module. Nothing computes with it; it is saved as it was read, and merged with the rest.
struct BesideText {
  std::string path;                // of the module, in the adapter's words
  std::string tensor;              // of the model's files
  LoraMatrices lora = {};          // of a linear layer whose weight the tensor is; nothing to merge where it is another layer
  at::Tensor copy = {};            // a trained copy of the tensor
  std::vector<NamedTensor> saved;  // under the names of the adapter's file, fp32
  bool merges() const { return lora.a.defined() || copy.defined(); }
};

}  // namespace lowrank::lora
