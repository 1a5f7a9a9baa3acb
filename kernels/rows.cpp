#include "lowrank/kernels/rows.h"

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

namespace lowrank::kernels {

void for_row_chunks(std::int64_t rows, std::int64_t chunk, const std::function<void(std::int64_t, std::int64_t)>& f) {
  if (rows <= 0) return;
  const std::int64_t chunks = (rows + chunk - 1) / chunk;
  const auto run = [&](std::int64_t first, std::int64_t last) {
    // Worker threads do not inherit the caller's thread-local state, so each says for itself that nothing is recorded.
    const at::NoGradGuard no_grad;
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    for (std::int64_t c = first; c < last; ++c) f(c * chunk, std::min(rows, (c + 1) * chunk));
  };
  at::parallel_for(0, chunks, 1, run);
}

}  // namespace lowrank::kernels
