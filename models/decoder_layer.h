// One block of the decoder: its linear layers and its norms. Private to models/.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <string>
#include <vector>

#include "lowrank/models/decoder.h"

namespace lowrank::models {

struct DecoderImpl::Layer {
  lora::LinearSlot q{nullptr}, k{nullptr}, v{nullptr}, o{nullptr};
  lora::LinearSlot gate{nullptr}, up{nullptr}, down{nullptr};
  lora::WholeModule input_norm, post_norm;  // [d]
  lora::WholeModule q_norm, k_norm;         // [head_dim], where the family has them
  std::string prefix;                       // "model.layers.0."

  /// In file order, which is the order of adapters.
  std::array<lora::LinearSlot, 7> slots() const { return {q, k, v, o, gate, up, down}; }
  std::vector<lora::WholeModule> norms() const {
    if (q_norm == nullptr) return {input_norm, post_norm};
    return {input_norm, post_norm, q_norm, k_norm};
  }
};

}  // namespace lowrank::models
