#include "lowrank/kernels/dropout_on_device.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/cuda/cuda_kernels.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/host.h"

namespace lowrank::kernels::on_device {

namespace {

constexpr std::int64_t kLow = 0xFFFFFFFF;
constexpr std::int64_t kChunkBlocks = std::int64_t{2} << 20;  // of four words in int64 each

// What 32 bits times 32 bits leave in the upper and in the lower half. int64 holds all 64 of them; the sign is the top one.
at::Tensor upper(const at::Tensor& product) { return product.bitwise_right_shift(32).bitwise_and(kLow); }
at::Tensor lower(const at::Tensor& product) { return product.bitwise_and(kLow); }

// core::philox (Salmon et al. 2011) of counters that broadcast against each other: [m, q, 4], words as int64.
at::Tensor philox(std::array<at::Tensor, 4> c, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const at::Tensor p0 = c[0].mul(std::int64_t{0xD2511F53}), p1 = c[2].mul(std::int64_t{0xCD9E8D57});
    c = {upper(p1).bitwise_xor(c[1]).bitwise_xor(std::int64_t{key[0]}), lower(p1),
         upper(p0).bitwise_xor(c[3]).bitwise_xor(std::int64_t{key[1]}), lower(p0)};
    key[0] += 0x9E3779B9U;
    key[1] += 0xBB67AE85U;
  }
  return at::stack(at::TensorList(c.data(), c.size()), -1);
}

}  // namespace

at::Tensor dropped(const at::Tensor& x, const DropoutPlace& place) {
  const std::int64_t rows = x.size(0), columns = x.size(1), blocks = (columns + 3) / 4;
  const auto wide = wide_dtype(x);
  const auto device = x.device();
  const auto threshold = static_cast<std::int64_t>(std::ldexp(place.p, 32));  // 2^32 for p = 1: all are dropped
  const double scale = place.p < 1 ? 1 / (1 - place.p) : 0;
  const at::Tensor tokens = from_host<std::int64_t>(std::span(place.token_in_step, static_cast<std::size_t>(rows)), {rows, 1}, device);
  const auto by_kernel = [&](const LowrankCuda& kernels, const LowrankCudaTarget& to) {
    const at::Tensor whole = x.detach().contiguous();
    const LowrankCudaDropout of{whole.const_data_ptr(), tokens.const_data_ptr<std::int64_t>(), rows, columns, place.step,
                                static_cast<std::uint64_t>(threshold), {place.key[0], place.key[1]}, static_cast<float>(scale)};
    return kernels.dropout(&of, &to);
  };
  if (at::Tensor made = filled_by_cuda(x.sizes(), x.scalar_type(), device, by_kernel); made.defined()) return made;
  const at::Tensor token = tokens.bitwise_and(kLow);
  const at::Tensor block = at::arange(blocks, at::TensorOptions(at::kLong).device(device)).unsqueeze(0);
  const std::array<std::int64_t, 2> step = {static_cast<std::int64_t>(place.step & 0xFFFFFFFFU), static_cast<std::int64_t>(place.step >> 32)};
  const at::Tensor steps = from_host<std::int64_t>(step, {2, 1, 1}, device);
  const at::Tensor out = aten::empty(x.sizes(), x.options());
  const std::int64_t chunk = std::max<std::int64_t>(1, kChunkBlocks / std::max<std::int64_t>(1, blocks));
  for (std::int64_t begin = 0; begin < rows; begin += chunk) {
    const std::int64_t n = std::min(chunk, rows - begin);
    const at::Tensor words = philox({block, token.narrow(0, begin, n), steps[0], steps[1]}, place.key);
    const at::Tensor keep = words.expand({n, blocks, 4}).flatten(1).narrow(1, 0, columns).ge(threshold);
    out.narrow(0, begin, n).copy_(x.detach().narrow(0, begin, n).to(wide).mul(scale).mul(keep.to(wide)));
  }
  return out;
}

}  // namespace lowrank::kernels::on_device
