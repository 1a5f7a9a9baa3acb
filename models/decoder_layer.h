// One block of the decoder: its linear layers and its norms. Private to models/.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>

#include "lowrank/models/decoder.h"

namespace lowrank::models {

struct DecoderImpl::Layer {
  lora::LinearSlot q{nullptr}, k{nullptr}, v{nullptr}, o{nullptr};
  lora::LinearSlot gate{nullptr}, up{nullptr}, down{nullptr};
  at::Tensor input_norm, post_norm;      // [d]
  at::Tensor q_norm, k_norm;             // [head_dim], where the family has them
  std::string prefix;                    // "model.layers.0."

  /// In file order, which is the order of adapters.
  std::array<lora::LinearSlot, 7> slots() const { return {q, k, v, o, gate, up, down}; }
};

}  // namespace lowrank::models
