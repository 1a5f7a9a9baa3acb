#include "lowrank/kernels/mxfp4.h"

#include <c10/util/BFloat16.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/decoded_rows.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kValues = Mxfp4Codes::kBlock, kBytes = kValues / 2;  // of a block
constexpr std::array<float, 16> kE2m1 = {0.0F,  0.5F,  1.0F,  1.5F,  2.0F,  3.0F,  4.0F,  6.0F,
                                         -0.0F, -0.5F, -1.0F, -1.5F, -2.0F, -3.0F, -4.0F, -6.0F};

// What each scale makes of the 16 values, rounded to bf16 (exact, but for the least and the greatest exponents).
const std::array<std::array<float, 16>, 256>& tables() {
  static const auto all = [] {
    std::array<std::array<float, 16>, 256> result{};
    for (int scale = 0; scale < 256; ++scale) {
      for (std::size_t i = 0; i < 16; ++i) {
        result[static_cast<std::size_t>(scale)][i] = static_cast<float>(c10::BFloat16(std::ldexp(kE2m1[i], scale - 127)));
      }
    }
    return result;
  }();
  return all;
}

class Mxfp4Storage : public BaseStorage {
 public:
  Mxfp4Storage(at::Tensor blocks, at::Tensor scales) : blocks_(std::move(blocks)), scales_(std::move(scales)) {
    const bool fit = blocks_.dim() == 3 && scales_.dim() == 2 && blocks_.size(2) == kBytes &&
                     blocks_.size(0) == scales_.size(0) && blocks_.size(1) == scales_.size(1) &&
                     blocks_.scalar_type() == at::kByte && scales_.scalar_type() == at::kByte &&
                     blocks_.is_contiguous() && scales_.is_contiguous();
    if (!fit) throw InternalError("kernels::mxfp4_storage: uint8 blocks [out, G, 16] and scales [out, G] are expected");
    if (!device().is_cpu()) values_there_ = from_host<float>(std::span(tables().front().data(), 256 * 16), {256 * 16}, device());
  }

  std::int64_t out_features() const override { return scales_.size(0); }
  std::int64_t in_features() const override { return scales_.size(1) * kValues; }
  at::ScalarType dtype() const override { return at::kBFloat16; }
  at::Device device() const override { return blocks_.device(); }
  at::Tensor rows(std::int64_t begin, std::int64_t n, at::ScalarType dtype) const override {
    if (device().is_cpu()) return panel(begin, n, 0, in_features(), dtype);
    return decoded_rows(begin, n, in_features(), dtype, device(), decoded_there());
  }
  at::Tensor columns(std::int64_t begin, std::int64_t n, at::ScalarType dtype) const override {
    if (!device().is_cpu()) return rows(0, out_features(), dtype).narrow(1, begin, n);
    return panel(0, out_features(), begin, n, dtype);
  }
  at::Tensor rows_at(const at::Tensor& ids) const override {
    return rows(0, out_features(), dtype()).index_select(0, ids);
  }
  WeightCodes codes() const override {
    if (!blocks_.is_cpu()) return {};
    return Mxfp4Codes{blocks_.const_data_ptr<std::uint8_t>(), scales_.const_data_ptr<std::uint8_t>(), tables().data(), in_features()};
  }

 private:
  DecodedOnDevice decoded_there() const {
    const auto by_ops = [this](std::int64_t begin, std::int64_t n) {
      const at::Tensor scales = scales_.narrow(0, begin, n).to(at::kInt).mul(16).unsqueeze(-1);
      const at::Tensor codes = halves(blocks_.narrow(0, begin, n), /*upper_first=*/false).view({n, -1, kValues});
      return values_there_.index_select(0, codes.add(scales).flatten()).view({n, in_features()});
    };
    const auto by_kernel = [this](const LowrankCuda& kernels, std::int64_t first, std::int64_t count, const LowrankCudaTarget& to) {
      const LowrankCudaMxfp4 weight{blocks_.const_data_ptr<std::uint8_t>(), scales_.const_data_ptr<std::uint8_t>(),
                                    values_there_.const_data_ptr<float>(), first, count};
      return kernels.mxfp4(&weight, &to);
    };
    return {by_ops, by_kernel};
  }

  // Rows and columns [first, first + columns), on the CPU.
  at::Tensor panel(std::int64_t row, std::int64_t rows, std::int64_t first, std::int64_t columns,
                   at::ScalarType dtype) const {
    at::Tensor result = aten::empty({rows, columns}, at::kFloat);
    const auto* const packed = blocks_.const_data_ptr<std::uint8_t>();
    const auto* const exponents = scales_.const_data_ptr<std::uint8_t>();
    float* const out = result.mutable_data_ptr<float>();
    const std::int64_t groups = scales_.size(1);
    for_row_chunks(rows, 16, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        float* const to = out + i * columns;
        for (std::int64_t c = 0; c < columns;) {
          const std::int64_t column = first + c, group = (row + i) * groups + column / kValues;
          const std::int64_t last = std::min(columns, c + kValues - column % kValues);
          const auto& table = tables()[exponents[group]];
          const std::uint8_t* const bytes = packed + group * kBytes;
          for (std::int64_t j = column % kValues; c < last; ++c, ++j) {
            to[c] = table[static_cast<std::size_t>(j % 2 == 0 ? bytes[j / 2] & 0x0F : bytes[j / 2] >> 4)];
          }
        }
      }
    });
    return result.to(dtype);
  }

  at::Tensor blocks_, scales_;
  at::Tensor values_there_;  // tables(), on a device that is not the CPU
};

}  // namespace

std::shared_ptr<const BaseStorage> mxfp4_storage(at::Tensor blocks, at::Tensor scales) {
  return std::make_shared<Mxfp4Storage>(std::move(blocks), std::move(scales));
}

}  // namespace lowrank::kernels
