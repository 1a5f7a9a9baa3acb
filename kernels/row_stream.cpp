#include "lowrank/kernels/row_stream.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

void for_value_runs(const at::Tensor& w, std::int64_t block,
                    const std::function<void(std::int64_t, const float*, std::int64_t)>& f) {
  const std::int64_t out = w.size(0), in = w.size(1);
  if (out == 0 || in == 0) return;
  // Rows after which a block ends, and as many of them as make some 64K values.
  const std::int64_t step = block / std::gcd(block, in);
  const std::int64_t rows = std::max<std::int64_t>(1, (std::int64_t{1} << 16) / (in * step)) * step;
  for_row_chunks(out, rows, [&](std::int64_t begin, std::int64_t end) {
    at::Tensor wide = aten::empty({end - begin, in}, at::kFloat);
    wide.copy_(w.narrow(0, begin, end - begin));
    const float* const values = wide.const_data_ptr<float>();
    const std::int64_t n = wide.numel();
    if (!std::all_of(values, values + n, [](float x) { return std::isfinite(x); }))
      throw ModelError("a weight has values that are not finite, of which no codes can be made");
    f(begin * in, values, n);
  });
}

}  // namespace lowrank::kernels
