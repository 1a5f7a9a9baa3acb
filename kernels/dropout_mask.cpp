#include "lowrank/kernels/dropout_mask.h"

#include <c10/util/BFloat16.h>

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/kernels/loops_inline.h"

namespace lowrank::kernels {

namespace {

constexpr int kBlocks = 16;
using Lanes = std::uint32_t[kBlocks];

// core::philox for kBlocks consecutive first counters at once (Salmon et al. 2011), in a form that compilers vectorise.
LOWRANK_ISA_CLONES void philox_lanes(std::uint32_t first, std::uint32_t token, std::uint64_t step, std::uint32_t k0,
                                     std::uint32_t k1, std::uint32_t* words) {
  Lanes c0, c1, c2, c3;
  for (int l = 0; l < kBlocks; ++l) {
    c0[l] = first + static_cast<std::uint32_t>(l);
    c1[l] = token;
    c2[l] = static_cast<std::uint32_t>(step);
    c3[l] = static_cast<std::uint32_t>(step >> 32);
  }
  for (int round = 0; round < 10; ++round) {
    for (int l = 0; l < kBlocks; ++l) {
      const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c0[l], p1 = std::uint64_t{0xCD9E8D57u} * c2[l];
      const auto n0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1[l] ^ k0;
      const auto n2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3[l] ^ k1;
      c1[l] = static_cast<std::uint32_t>(p1);
      c3[l] = static_cast<std::uint32_t>(p0);
      c0[l] = n0;
      c2[l] = n2;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int l = 0; l < kBlocks; ++l) {
    words[4 * l] = c0[l];
    words[4 * l + 1] = c1[l];
    words[4 * l + 2] = c2[l];
    words[4 * l + 3] = c3[l];
  }
}

}  // namespace

void dropout_row(float* keep, std::int64_t first, std::int64_t columns, const DropoutPlace& place, std::int64_t token) {
  const auto threshold = static_cast<std::uint64_t>(std::ldexp(place.p, 32));  // 2^32 for p = 1: all are dropped
  std::uint32_t words[4 * kBlocks];
  for (std::int64_t done = 0; done < columns; done += 4 * kBlocks) {
    philox_lanes(static_cast<std::uint32_t>((first + done) / 4), static_cast<std::uint32_t>(token), place.step,
                 place.key[0], place.key[1], words);
    const std::int64_t n = std::min<std::int64_t>(columns - done, 4 * kBlocks);
    for (std::int64_t j = 0; j < n; ++j) keep[done + j] = words[j] < threshold ? 0.0F : 1.0F;
  }
}

namespace {

template <typename T>
void drop(T* x, std::int64_t rows, std::int64_t columns, std::int64_t stride, const DropoutPlace& place,
          std::int64_t row, std::int64_t first_column) {
  using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const auto scale = static_cast<Wide>(place.p < 1 ? 1 / (1 - place.p) : 0);
  std::vector<float> keep(static_cast<std::size_t>(columns));
  for (std::int64_t i = 0; i < rows; ++i) {
    dropout_row(keep.data(), first_column, columns, place, place.token_in_step[row + i]);
    T* const line = x + i * stride;
    for (std::int64_t j = 0; j < columns; ++j) {
      const auto k = static_cast<Wide>(keep[static_cast<std::size_t>(j)]);
      line[j] = static_cast<T>(static_cast<Wide>(line[j]) * scale * k);
    }
  }
}

}  // namespace

void drop_tile(const at::Tensor& x, const DropoutPlace& place, std::int64_t row, std::int64_t first_column) {
  const std::int64_t rows = x.size(0), columns = x.size(1), stride = x.stride(0);
  switch (x.scalar_type()) {
    case at::kFloat:
      return drop(x.mutable_data_ptr<float>(), rows, columns, stride, place, row, first_column);
    case at::kDouble:
      return drop(x.mutable_data_ptr<double>(), rows, columns, stride, place, row, first_column);
    case at::kBFloat16:
      return drop(x.mutable_data_ptr<c10::BFloat16>(), rows, columns, stride, place, row, first_column);
    default:
      throw InternalError("kernels::apply_dropout: fp32, fp64 or bf16 is expected");
  }
}

}  // namespace lowrank::kernels
