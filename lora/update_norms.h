// How large an adapter's update is: ‖ΔW‖ and ‖ΔW‖/‖W‖ of every adapted layer, without forming ΔW.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "lowrank/lora/adapter.h"

namespace lowrank::lora {

/// The factors of one adapted linear layer, or of one expert: ΔW = scale · B A. a and b are the trained tensors, those
/// of all experts together.
struct Factors {
  std::string path;
  at::Tensor a, b;
  double scale = 1;
  std::int64_t experts = 1, expert = 0;

  /// A [r, in] and B [out, r], and their gradients': views without a history, made anew each time (a trainer may move
  /// the values of a leaf).
  at::Tensor matrix_a() const { return part_a(a.detach()); }
  at::Tensor matrix_b() const { return part_b(b.detach()); }
  at::Tensor gradient_a() const { return part_a(a.grad()); }
  at::Tensor gradient_b() const { return part_b(b.grad()); }

  at::Tensor part_a(const at::Tensor& all) const {
    return experts == 1 ? all : all.view({experts, -1, all.size(1)}).select(0, expert);
  }
  at::Tensor part_b(const at::Tensor& all) const {
    return experts == 1 ? all : all.view({all.size(0), -1, experts}).select(2, expert);
  }
};
/// Those of every linear slot, in the adapter's order, A and B alone of an adapter with a magnitude or a beginning;
/// then of every expert of every slot of experts.
std::vector<Factors> factors_of(const Adapter& adapter);

/// A Aᵀ and Bᵀ B in fp64 [r, r]; by one thread.
struct Grams {
  at::Tensor a, b;
};
Grams grams_of(const Factors& factors);
/// ‖ΔW‖_F = s · √tr((BᵀB)(AAᵀ)); by one thread.
double delta_norm(const Factors& factors);

struct UpdateNorm {
  std::string path;
  double delta = 0, base = 0;  // ‖ΔW‖_F, ‖W‖_F
  double ratio() const { return base > 0 ? delta / base : 0; }
};
/// Of every slot, in the adapter's order, then of the embedding and of trained copies, where there are such; the same
/// for any number of threads. The whole update counts: with PiSSA's and OLoRA's beginning, and (by rows of the weight)
/// with DoRA's magnitudes.
std::vector<UpdateNorm> update_norms(const Adapter& adapter);

}  // namespace lowrank::lora
