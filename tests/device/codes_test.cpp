// Weights in codes on a device: decoded there to the bytes of the CPU.
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "catch.h"
#include "device/cuda_kernels.h"
#include "device/device.h"
#include "lowrank/kernels/dropout.h"
#include "lowrank/kernels/int8.h"
#include "lowrank/kernels/mxfp4.h"
#include "lowrank/kernels/nf4.h"
#include "lowrank/kernels/ops.h"

using namespace lowrank;

namespace {

at::Tensor numbers(std::int64_t out, std::int64_t in) {
  at::Tensor x = at::empty({out, in}, at::kFloat);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    x.mutable_data_ptr<float>()[i] = static_cast<float>((i * 571 + 13) % 997 - 498) / static_cast<float>(i % 64 + 300);
  }
  return x;
}

using Storage = std::shared_ptr<const kernels::BaseStorage>;

void check_alike(const Storage& here, const Storage& there) {
  CHECK(there->device() == test_device::device());
  const std::int64_t out = here->out_features(), in = here->in_features();
  const auto same = [&](const at::Tensor& found, const at::Tensor& expected) {
    REQUIRE(found.device() == test_device::device());
    REQUIRE(found.scalar_type() == expected.scalar_type());
    CHECK(at::equal(found.cpu(), expected));
  };
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    same(there->rows(0, out, dtype), here->rows(0, out, dtype));
    for (const auto& [begin, n] : std::vector<std::pair<std::int64_t, std::int64_t>>{{1, out - 1}, {out / 2, 1}, {out - 2, 2}}) {
      INFO(begin << " " << n);
      same(there->rows(begin, n, dtype), here->rows(begin, n, dtype));
    }
    same(there->columns(in / 3, in / 2, dtype), here->columns(in / 3, in / 2, dtype));
  }
  const at::Tensor ids = at::tensor(std::vector<std::int64_t>{out - 1, 0, 2, 2});
  same(there->rows_at(ids.to(test_device::device())), here->rows_at(ids));
}

void check_all_forms() {
  // Rows of whole blocks and not, odd numbers of values, more than one group of blocks, more than one piece.
  for (const auto& [out, in] : std::vector<std::pair<std::int64_t, std::int64_t>>{{5, 64}, {7, 33}, {9, 5000}, {300, 96}, {70, 70000}}) {
    INFO(out << " x " << in);
    const at::Tensor w = numbers(out, in);
    const at::Tensor nf4 = kernels::nf4_encoded(w), int8 = kernels::int8_encoded(w);
    check_alike(kernels::nf4_storage(nf4, out, in), kernels::nf4_storage(nf4, out, in, {}, test_device::device()));
    check_alike(kernels::int8_storage(int8, out, in), kernels::int8_storage(int8, out, in, {}, test_device::device()));
  }
  at::Tensor blocks = at::empty({6, 3, 16}, at::kByte), scales = at::empty({6, 3}, at::kByte);
  for (std::int64_t i = 0; i < blocks.numel(); ++i) blocks.mutable_data_ptr<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 37 + 11);
  for (std::int64_t i = 0; i < scales.numel(); ++i) scales.mutable_data_ptr<std::uint8_t>()[i] = static_cast<std::uint8_t>(100 + i * 3);
  check_alike(kernels::mxfp4_storage(blocks, scales),
              kernels::mxfp4_storage(blocks.to(test_device::device()), scales.to(test_device::device())));
}

// Dropped elements of x [T, d], its rows the tokens 3, 10 …, and a step beyond 32 bits.
at::Tensor dropped(const at::Tensor& x, double p) {
  std::vector<std::int64_t> tokens;
  for (std::int64_t i = 0; i < x.size(0); ++i) tokens.push_back(3 + 7 * i);
  return kernels::apply_dropout(x, p, {0x12345678U, 0x9ABCDEF0U}, (std::uint64_t{5} << 32) + 17, tokens.data());
}

void check_dropout() {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble}) {
    for (const double p : {0.1, 0.5, 1.0}) {
      for (const std::int64_t width : {1, 6, 64, 333}) {
        INFO(c10::toString(dtype) << " " << p << " " << width);
        const at::Tensor x = numbers(19, width).to(dtype), there = dropped(x.to(test_device::device()), p);
        REQUIRE(there.device() == test_device::device());
        CHECK(at::equal(there.cpu(), dropped(x, p)));
      }
    }
  }
  const at::Tensor wide = numbers(700, 12000);  // more than one piece; columns of a wider matrix
  CHECK(at::equal(dropped(wide.to(test_device::device()).narrow(1, 40, 11000), 0.3).cpu(), dropped(wide.narrow(1, 40, 11000), 0.3)));
}

}  // namespace

TEST_CASE("weights in codes are decoded on a device to the CPU's bytes", "[unit]") { check_all_forms(); }

TEST_CASE("the loss of a head takes labels from the CPU and from its device", "[unit]") {
  const at::Tensor hidden = numbers(9, 16).to(test_device::device());
  const kernels::BaseWeight head = kernels::BaseWeight::dense(numbers(11, 16).to(test_device::device()));
  const at::Tensor labels = at::tensor(std::vector<std::int64_t>{3, -100, 0, 10, 10, -100, 7, 1, 2});
  const at::Tensor here = kernels::linear_cross_entropy(hidden, head, labels);
  CHECK(at::equal(here.cpu(), kernels::linear_cross_entropy(hidden, head, labels.to(test_device::device())).cpu()));
  CHECK(here.cpu()[1].item<float>() == 0);
}

TEST_CASE("dropout on a device drops what it drops on the CPU", "[unit]") { check_dropout(); }

TEST_CASE("the kernels for GPUs leave the CPU's bytes", "[unit]") {
  const test_device::CudaKernels kernels;
  const int before = test_device::CudaKernels::runs();
  check_all_forms();
  check_dropout();
  CHECK(test_device::CudaKernels::runs() > before + 100);
}
