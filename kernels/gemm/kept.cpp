#include "lowrank/kernels/gemm/kept.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "lowrank/kernels/gemm/bf16_product.h"
#include "lowrank/kernels/gemm/micro.h"
#include "lowrank/kernels/gemm/panels.h"
#include "lowrank/kernels/gemm/product.h"
#include "lowrank/kernels/gemm/scratch.h"

namespace lowrank::kernels::gemm {

class PanelStore {
 public:
  explicit PanelStore(std::int64_t room) : room_(room) {}

  /// What `pack` makes of `floats` floats by the kernel at `kernel`, in `parts`.
  const float* find_or_pack(const BaseWeight& w, bool transposed, const void* kernel, std::int64_t parts, std::int64_t floats,
                            const std::function<void(float*)>& pack) {
    const std::lock_guard lock(mutex_);
    for (const auto& entry : entries_) {
      if (entry->transposed == transposed && entry->kernel == kernel && entry->parts == parts && entry->weight.same(w)) return entry->panels.data();
    }
    if (floats == 0 || taken_ + 4 * floats > room_) return nullptr;
    auto entry = std::make_unique<Entry>(Entry{w.with_bias({}), transposed, kernel, parts, Floats(floats)});
    pack(entry->panels.data());
    taken_ += 4 * floats;
    entries_.push_back(std::move(entry));
    return entries_.back()->panels.data();
  }

  std::int64_t bytes() const {
    const std::lock_guard lock(mutex_);
    return taken_;
  }

 private:
  struct Entry {
    BaseWeight weight;
    bool transposed;
    const void* kernel;  // that they are packed for
    std::int64_t parts;
    Floats panels;
  };
  std::int64_t room_, taken_ = 0;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Entry>> entries_;
};

namespace {

std::mutex stores_mutex;
std::weak_ptr<PanelStore>& in_force() {
  static std::weak_ptr<PanelStore> store;
  return store;
}

}  // namespace

KeptPanels::KeptPanels(std::int64_t bytes) : store_(std::make_shared<PanelStore>(bytes)) {
  const std::lock_guard lock(stores_mutex);
  if (in_force().expired()) in_force() = store_;
}

KeptPanels::~KeptPanels() = default;

std::int64_t KeptPanels::bytes() const { return store_->bytes(); }

std::shared_ptr<PanelStore> panel_store() {
  if (at::in_parallel_region()) return nullptr;
  const std::lock_guard lock(stores_mutex);
  return in_force().lock();
}

namespace {
constexpr std::int64_t kPanels = 8;  // a task
}

const float* kept_panels(PanelStore& store, const BaseWeight& w, bool transposed) {
  if (w.trains()) return nullptr;
  const MicroKernel& kernel = micro_kernel();
  const Right right = transposed ? Right::of_transposed(w) : Right::of(w);
  const std::int64_t inner = right.inner(), panels = ceil_div(right.columns(), kernel.columns);
  return store.find_or_pack(w, transposed, &kernel, 1, panels * kernel.columns * inner, [&](float* to) {
    for_tasks(ceil_div(panels, kPanels), [&](std::int64_t task) {
      const std::int64_t column = task * kPanels * kernel.columns;
      const at::Tensor b = right.at(column, std::min(kPanels * kernel.columns, right.columns() - column));
      pack_right(kernel, b, 0, inner, 1, to + column * inner);
    });
  });
}

const Bf16* kept_bf16_panels(PanelStore& store, const BaseWeight& w, bool transposed, std::int64_t parts) {
  if (w.trains()) return nullptr;
  const Bf16Kernel& kernel = *bf16_kernel();
  const Right right = transposed ? Right::of_transposed(w) : Right::of(w);
  const std::int64_t panel = parts * kBf16Columns * round_up(right.inner(), kBf16Steps), panels = ceil_div(right.columns(), kBf16Columns);
  const float* const kept = store.find_or_pack(w, transposed, &kernel, parts, panels * panel / 2, [&](float* to) {
    for_tasks(ceil_div(panels, kPanels), [&](std::int64_t task) {
      const std::int64_t column = task * kPanels * kBf16Columns;
      pack_bf16(kernel, right, column, std::min(kPanels * kBf16Columns, right.columns() - column), parts, panel,
                reinterpret_cast<Bf16*>(to) + column / kBf16Columns * panel);
    });
  });
  return reinterpret_cast<const Bf16*>(kept);
}

}  // namespace lowrank::kernels::gemm
