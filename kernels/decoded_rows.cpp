#include "lowrank/kernels/decoded_rows.h"

#include <ATen/ops/stack.h>

#include <algorithm>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/cuda/cuda_kernels.h"

namespace lowrank::kernels {

namespace {
constexpr std::int64_t kChunkValues = std::int64_t{4} << 20;
}

at::Tensor decoded_rows(std::int64_t begin, std::int64_t n, std::int64_t in, at::ScalarType dtype, at::Device device,
                        const DecodedOnDevice& decode) {
  const at::Tensor made = filled_by_cuda({n, in}, dtype, device, [&](const LowrankCuda& kernels, const LowrankCudaTarget& to) {
    return decode.by_kernel(kernels, begin * in, n * in, to);
  });
  if (made.defined()) return made;
  const at::Tensor result = aten::empty({n, in}, at::TensorOptions(dtype).device(device));
  const std::int64_t chunk = std::max<std::int64_t>(1, kChunkValues / std::max<std::int64_t>(1, in));
  for (std::int64_t done = 0; done < n; done += chunk) {
    const std::int64_t some = std::min(chunk, n - done);
    result.narrow(0, done, some).copy_(decode.by_ops(begin + done, some));
  }
  return result;
}

at::Tensor halves(const at::Tensor& bytes, bool upper_first) {
  const at::Tensor wide = bytes.to(at::kInt), upper = wide.bitwise_right_shift(4), lower = wide.bitwise_and(15);
  return at::stack({upper_first ? upper : lower, upper_first ? lower : upper}, -1).flatten();
}

}  // namespace lowrank::kernels
