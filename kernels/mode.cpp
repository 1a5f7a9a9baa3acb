#include "lowrank/kernels/mode.h"

#include <atomic>

namespace lowrank::kernels {

namespace {
std::atomic<Mode> current{Mode::kFused};
}

Mode mode() { return current.load(std::memory_order_relaxed); }
void set_mode(Mode m) { current.store(m, std::memory_order_relaxed); }

}  // namespace lowrank::kernels
