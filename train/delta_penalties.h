// Penalties on the update ΔW = s·B A of every adapted layer, and on the shape of its factors; gradients by hand.
#pragma once

#include <vector>

#include "lowrank/lora/update_norms.h"

namespace lowrank::train {

struct DeltaPenalties {
  double l1 = 0;  // l1 · Σ|ΔW_ij|, its subgradient sign(ΔW) (0 at 0)
  double l2 = 0;  // l2/2 · ‖ΔW‖²_F = l2/2 · s² tr((BᵀB)(AAᵀ))
  double orthogonality = 0;  // X · (‖AAᵀ − I‖²_F + ‖BᵀB − I‖²_F), equation 4 of AdaLoRA (Zhang et al. 2023), its γ
  bool any() const { return l1 != 0 || l2 != 0 || orthogonality != 0; }
};

/// The penalties' value, summed over the layers; their gradients are added into a.grad() and b.grad(). ΔW is never
/// whole: the L1 penalty makes it in blocks of rows. Independent of the number of threads: a layer is one thread's
/// work.
double add_delta_penalties(const std::vector<lora::Factors>& layers, const DeltaPenalties& penalties);

/// The projection after a step: where ‖ΔW‖_F of a layer is over `largest`, A and B are both scaled by
/// √(largest/‖ΔW‖_F).
void cap_delta_norms(const std::vector<lora::Factors>& layers, double largest);

}  // namespace lowrank::train
