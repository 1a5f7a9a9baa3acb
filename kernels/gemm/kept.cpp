#include "lowrank/kernels/gemm/kept.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "lowrank/kernels/gemm/micro.h"
#include "lowrank/kernels/gemm/panels.h"
#include "lowrank/kernels/gemm/product.h"
#include "lowrank/kernels/gemm/scratch.h"

namespace lowrank::kernels::gemm {

class PanelStore {
 public:
  explicit PanelStore(std::int64_t room) : room_(room) {}

  const float* find_or_pack(const BaseWeight& w, bool transposed) {
    const MicroKernel& kernel = micro_kernel();
    const std::lock_guard lock(mutex_);
    for (const auto& entry : entries_) {
      if (entry->transposed == transposed && entry->kernel == &kernel && entry->weight.same(w))
        return entry->panels.data();
    }
    const Right right = transposed ? Right::of_transposed(w) : Right::of(w);
    const std::int64_t inner = right.inner(), panels = ceil_div(right.columns(), kernel.columns);
    const std::int64_t floats = panels * kernel.columns * inner;
    if (floats == 0 || taken_ + 4 * floats > room_) return nullptr;
    auto entry = std::make_unique<Entry>(Entry{w.with_bias({}), transposed, &kernel, Floats(floats)});
    constexpr std::int64_t kPanels = 8;  // a task
    for_tasks(ceil_div(panels, kPanels), [&](std::int64_t task) {
      const std::int64_t column = task * kPanels * kernel.columns;
      const at::Tensor b = right.at(column, std::min(kPanels * kernel.columns, right.columns() - column));
      pack_right(kernel, b, 0, inner, 1, entry->panels.data() + column * inner);
    });
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
    const MicroKernel* kernel;  // that they are packed for
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

const float* kept_panels(PanelStore& store, const BaseWeight& w, bool transposed) {
  return w.trains() ? nullptr : store.find_or_pack(w, transposed);
}

}  // namespace lowrank::kernels::gemm
