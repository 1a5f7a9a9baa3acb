// The last block of a decoder: from the hidden states after the final norm to logits and losses.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "lowrank/kernels/dropout.h"
#include "lowrank/lora/linear_slot.h"
#include "lowrank/models/blocks/scope.h"

namespace lowrank::models {

struct HeadSpec {
  std::string name = "lm_head";  // from the root, not inside the model's prefix
  std::string stored_name = "";  // what weight files may have in its place
  bool bias = false;
  double scale = 1;  // logits z become scale · z, and then
  double cap = 0;    // cap · tanh(z / cap); 0: as they are
};

class Head {
 public:
  /// `shared` [V, d]: the embedding's table, where both are one; else undefined.
  Head(const HeadSpec& spec, std::int64_t width, std::int64_t vocabulary, const kernels::BaseWeight& shared,
       const Scope& root);

  /// hidden [T, d] -> logits [T, V] fp32, through the head's adapter too.
  at::Tensor logits(const at::Tensor& hidden) const;
  /// Per-token cross-entropy [T] fp32, 0 where labels are -100; logits are never whole in memory.
  at::Tensor losses(const at::Tensor& hidden, const at::Tensor& labels, const kernels::DropoutContext* dropout,
                    double label_smoothing) const;
  const lora::LinearSlot& slot() const { return slot_; }

 private:
  at::Tensor logits(const at::Tensor& hidden, const kernels::DropoutContext* dropout) const;

  HeadSpec spec_;
  lora::LinearSlot slot_;
};

}  // namespace lowrank::models
