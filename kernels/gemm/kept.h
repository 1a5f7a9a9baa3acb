// Panels of frozen weights that are packed once and kept, where there is memory for them.
#pragma once

#include <cstdint>
#include <memory>

#include "lowrank/kernels/base_weight.h"
#include "lowrank/kernels/gemm/bf16_kernel.h"

namespace lowrank::kernels::gemm {

class PanelStore;

/// While it lives, products of the whole process keep the panels that they pack of frozen weights, as many as fit into
/// `bytes`; results are the same bytes without it. Of several the first counts. Panels go by the place of a weight's
/// storage: the values of a kept weight must not change.
class KeptPanels {
 public:
  explicit KeptPanels(std::int64_t bytes);
  ~KeptPanels();
  KeptPanels(const KeptPanels&) = delete;
  KeptPanels& operator=(const KeptPanels&) = delete;

  std::int64_t bytes() const;  // that are taken

 private:
  std::shared_ptr<PanelStore> store_;
};

/// The store in force, which a product holds while it lasts; null: nothing is kept, or this is a task's own product.
std::shared_ptr<PanelStore> panel_store();

/// All of W (Wᵀ where `transposed`) as right panels of the kernel in force, each with all of its steps; null where none
/// are kept.
const float* kept_panels(PanelStore& store, const BaseWeight& w, bool transposed);
/// The same of the kernel of bf16 in force, in so many parts: each panel with its steps made whole.
const Bf16* kept_bf16_panels(PanelStore& store, const BaseWeight& w, bool transposed, std::int64_t parts);

}  // namespace lowrank::kernels::gemm
