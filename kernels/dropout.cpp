#include "lowrank/kernels/dropout.h"

#include <string>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/dropout_on_device.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

at::Tensor apply_dropout(const at::Tensor& x, double p, std::array<std::uint32_t, 2> key, std::uint64_t step,
                         const std::int64_t* token_in_step) {
  if (x.dim() != 2 || token_in_step == nullptr || !(p >= 0 && p <= 1)) {
    throw InternalError("kernels::apply_dropout: x [T, d], tokens [T] and 0 <= p <= 1 are expected, found p = " +
                        std::to_string(p));
  }
  if (p == 0) return x;
  const DropoutPlace place{p, key, step, token_in_step};
  if (!x.is_cpu()) return on_device::dropped(x, place);
  at::Tensor out = x.detach().clone(at::MemoryFormat::Contiguous);
  for_row_chunks(out.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
    drop_tile(out.narrow(0, begin, end - begin), place, begin, 0);
  });
  return out;
}

at::Tensor dropped_input(const at::Tensor& x, const DropoutPlace& dropout) {
  if (dropout.p == 0) return x;
  at::Tensor result = aten::empty(x.sizes(), x.options().dtype(at::kFloat));
  for_row_chunks(x.size(0), 64, [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor rows = result.narrow(0, begin, end - begin).copy_(x.narrow(0, begin, end - begin));
    drop_tile(rows, dropout, begin, 0);
  });
  return result;
}

}  // namespace lowrank::kernels
