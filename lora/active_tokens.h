// The tokens of a pass on which an activated LoRA acts (Greenewald et al. 2025; PEFT's alora_invocation_tokens).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace lowrank::lora {

/// An adapter with an invocation acts from the beginning of its last occurrence in a sequence on, and nowhere in a
/// sequence without one. The model says which tokens those are before each pass.
struct ActiveTokens {
  std::vector<std::int64_t> invocation;
  at::Tensor mask = {};  // [T, 1] fp32 of the pass that runs, 1 or 0
};

/// Of the adapters on a model, alive or not.
using Activations = std::vector<std::weak_ptr<ActiveTokens>>;

/// Where the last occurrence begins in a sequence; its length where there is none.
std::int64_t activated_from(const std::vector<std::int64_t>& invocation, const std::vector<std::int64_t>& sequence);

}  // namespace lowrank::lora
