// Products with operands in bf16, by every kernel for them that this CPU has: against fp64 products of the same bf16 numbers.
#include "lowrank/kernels/gemm/bf16_kernel.h"

#include <array>
#include <limits>

#include "lowrank/kernels/gemm.h"
#include "lowrank/kernels/gemm/bf16_product.h"
#include "lowrank/kernels/gemm/kept.h"
#include "lowrank/kernels/gemm/product.h"
#include "lowrank/kernels/lora_linear.h"
#include "lowrank/kernels/ops.h"
#include "support.h"

using namespace kernel_test;
namespace k = lowrank::kernels;
namespace gemm = lowrank::kernels::gemm;

namespace {

const k::Runtime kNative{.gemm = k::GemmPath::kNativeBf16};

/// Each of the CPU's kernels in turn; none: the test says so.
template <typename F>
void with_each_kernel(const F& f) {
  const gemm::Bf16Kernel* const before = gemm::bf16_kernel();
  if (gemm::bf16_kernels().empty()) WARN("this CPU has no instructions for bf16: nothing is tested");
  for (const gemm::Bf16Kernel* kernel : gemm::bf16_kernels()) {
    gemm::force_bf16_kernel(kernel);
    INFO(kernel->name);
    f();
  }
  gemm::force_bf16_kernel(before);
}

/// f(rows, in, out, rank, dtype of W) by each kernel, at sizes whose edges fall everywhere.
template <typename F>
void at_every_edge(const F& f) {
  with_each_kernel([&] {
    for (const auto& [rows, in, out, rank] : std::initializer_list<std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t>>{
             {32, 32, 32, 16}, {75, 90, 50, 5}, {33, 1, 1, 1}, {300, 577, 65, 40}, {64, 2048, 31, 16}, {4200, 64, 40, 8}}) {
      for (const auto weight : {at::kBFloat16, at::kFloat, at::kHalf}) {
        INFO(rows << "x" << in << " to " << out << ", rank " << rank << ", W " << weight);
        f(rows, in, out, rank, weight);
      }
    }
  });
}

at::Tensor exact_product(const at::Tensor& a, const at::Tensor& b) { return a.to(at::kDouble).matmul(b.to(at::kDouble)); }

/// Memory behind and beside a matrix that no product may read or write: NaN.
at::Tensor within_nan(const at::Tensor& x) {
  const at::Tensor around = torch::full({x.size(0) + 2, x.size(1) + 3}, NAN, x.options());
  around.narrow(0, 0, x.size(0)).narrow(1, 2, x.size(1)).copy_(x);
  return around.narrow(0, 0, x.size(0)).narrow(1, 2, x.size(1));
}

}  // namespace

TEST_CASE("products in bf16: weights that lie both ways, thin factors beside, further terms, at every edge", "[unit]") {
  torch::manual_seed(51);
  const k::RuntimeScope scope(kNative);
  at_every_edge([](std::int64_t rows, std::int64_t in, std::int64_t out, std::int64_t rank, at::ScalarType weight) {
    const at::Tensor x = within_nan(random({rows, in}, at::kBFloat16));
    const at::Tensor w = random({out, in}).to(at::kBFloat16).to(weight), a = random({rank, in}), b = random({out, rank});
    const at::Tensor bias = random({out});
    at::Tensor y = within_nan(torch::empty({rows, out}, at::kBFloat16)), wide = within_nan(torch::zeros({rows, out})),
               t = torch::full({rows, rank}, NAN);
    gemm::multiply(rows, in + rank, {{x}}, {{a.t(), t, 0, in}},
                   {{y, {{0, gemm::Right::of_transposed(k::BaseWeight::dense(w))}, {in, gemm::Right::of_matrix(b.t(), 0.5)}}, bias},
                    {wide, {{0, gemm::Right::of_transposed(k::BaseWeight::dense(w))}}}});
    const at::Tensor product = exact_product(x, w.t()), et = exact_product(x, a.t());
    CHECK(distance(wide, product) < 2e-6);
    CHECK(distance(t, et) < 3e-5);  // factors in two parts of 8 bits
    CHECK(distance(y, product + 0.5 * exact_product(et, b.t()) + bias) < 8e-3);

    const at::Tensor g = within_nan(random({rows, out}, at::kBFloat16));
    at::Tensor dx = within_nan(torch::empty({rows, in}));
    gemm::multiply(dx, g, gemm::Right::of(k::BaseWeight::dense(w)));
    CHECK(distance(dx, exact_product(g, w)) < 2e-6);
    at::Tensor da = torch::full({rank, in}, NAN), db = torch::full({in, rank}, NAN);
    const at::Tensor u = random({rows, rank});
    gemm::multiply_outer(da, u, x, 2, false);
    gemm::multiply_outer(db, u, x, 2, true);
    CHECK(distance(da, 2 * exact_product(u.t(), x)) < 3e-5);
    CHECK(equal_bytes(da, db.t()));
  });
}

TEST_CASE("in bf16 a first term is kept and scaled, parts of one operand are terms of their own, sums go on", "[unit]") {
  torch::manual_seed(52);
  const k::RuntimeScope scope(kNative);
  with_each_kernel([] {
    const std::int64_t rows = 70, half = 45, out = 53;
    const at::Tensor x = random({rows, 2 * half}, at::kBFloat16), v = random({out, half}, at::kBFloat16), w = random({out, half}, at::kBFloat16);
    const at::Tensor gain = random({out}), kept = torch::empty({rows, out}, at::kBFloat16);
    at::Tensor y = torch::ones({rows, out});
    gemm::multiply(rows, 2 * half, {{x}}, {},
                   {{y,
                     {{0, gemm::Right::of_transposed(k::BaseWeight::dense(v)), gain, kept}, {half, gemm::Right::of_transposed(k::BaseWeight::dense(w))}},
                     {},
                     true}});
    const at::Tensor first = exact_product(x.narrow(1, 0, half), v.t());
    CHECK(distance(kept, first) < 4e-3);
    CHECK(distance(y, first * gain + exact_product(x.narrow(1, half, half), w.t()) + 1) < 2e-6);
  });
}

TEST_CASE("products of fp32 in parts of bf16 are as exact as fp32's own, at every edge", "[unit]") {
  torch::manual_seed(54);
  const k::RuntimeScope scope(kNative);
  at_every_edge([](std::int64_t rows, std::int64_t in, std::int64_t out, std::int64_t rank, at::ScalarType weight) {
    const at::Tensor x = within_nan(random({rows, in})), w = random({out, in}).to(weight), a = random({rank, in}), b = random({out, rank});
    const at::Tensor bias = random({out});
    const auto product = [&](bool parts) {
      at::Tensor y = within_nan(torch::empty({rows, out})), t = torch::full({rows, rank}, NAN), back = within_nan(torch::empty({rows, in}));
      const std::vector<gemm::Side> sides = {{a.t(), t, 0, in}};
      const std::vector<gemm::Target> targets = {
          {y, {{0, gemm::Right::of_transposed(k::BaseWeight::dense(w))}, {in, gemm::Right::of_matrix(b.t(), 0.5)}}, bias}};
      const std::vector<gemm::Target> backward = {{back, {{0, gemm::Right::of(k::BaseWeight::dense(w))}}}};
      const at::Tensor g = random({rows, out});
      if (parts) {
        gemm::multiply_bf16(rows, in + rank, {{x}}, sides, targets, gemm::kFloatParts);
        gemm::multiply_bf16(rows, out, {{g}}, {}, backward, gemm::kFloatParts);
      } else {
        const k::RuntimeScope plain({.gemm = k::GemmPath::kOwn});
        gemm::multiply(rows, in + rank, {{x}}, sides, targets);
        gemm::multiply(rows, out, {{g}}, {}, backward);
      }
      const at::Tensor et = exact_product(x, a.t());
      return std::array<double, 3>{distance(y, exact_product(x, w.t()) + 0.5 * exact_product(et, b.t()) + bias), distance(t, et),
                                   distance(back, exact_product(g, w))};
    };
    const auto parts = product(true), own = product(false);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      INFO("result " << i << ": " << parts[i] << ", fp32 " << own[i]);
      CHECK(parts[i] <= std::max(1.5 * own[i], 3e-7));
    }
  });
}

TEST_CASE("what is not finite stays so in products of parts, the largest numbers are theirs, and the smallest vanish", "[unit]") {
  const k::RuntimeScope scope(kNative);
  with_each_kernel([] {
    const float most = std::numeric_limits<float>::max();
    const std::vector<float> numbers = {INFINITY, -INFINITY, NAN, most, -most, 1.0F + 0x1p-23F, 0x1p-140F, -0.0F, 0x1.abcdefp-100F};
    at::Tensor x = torch::zeros({40, 32});
    for (std::size_t i = 0; i < numbers.size(); ++i) x[static_cast<std::int64_t>(i)][3] = numbers[i];
    const at::Tensor one = torch::eye(32, at::kBFloat16);
    at::Tensor y = torch::empty({40, 32});
    gemm::multiply_bf16(40, 32, {{x}}, {}, {{y, {{0, gemm::Right::of_matrix(one)}}}}, gemm::kFloatParts);
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const float found = y[static_cast<std::int64_t>(i)][3].item<float>();
      INFO(numbers[i] << ": " << found);
      if (!std::isfinite(numbers[i])) {
        CHECK(!std::isfinite(found));
      } else if (std::abs(numbers[i]) < std::numeric_limits<float>::min()) {
        CHECK(found == 0);
      } else {
        CHECK(found == numbers[i]);
      }
    }
  });
}

TEST_CASE("fp32 is multiplied in parts where a weight is stored in bf16 and that is faster, to the same bytes for any threads and rows", "[unit]") {
  torch::manual_seed(56);
  const k::RuntimeScope scope(kNative);
  with_each_kernel([] {
    CHECK(gemm::in_parts(at::kFloat, at::kBFloat16) == gemm::bf16_kernel()->multiplies_parts);
    CHECK(!gemm::in_parts(at::kFloat, at::kFloat));
    CHECK(!gemm::in_parts(at::kBFloat16, at::kBFloat16));
    const at::Tensor x = random({1300, 130}), w = random({70, 130}, at::kBFloat16), a = random({6, 130}), b = random({70, 6});
    k::LoraOperand lora;
    lora.a = a, lora.b = b;
    const k::BaseWeight base = k::BaseWeight::dense(w);
    const at::Tensor whole = k::lora_linear(x, base, {&lora, 1}, nullptr);
    CHECK(distance(whole, exact_product(x, w.t()) + exact_product(exact_product(x, a.t()), b.t())) < 5e-7);
    const gemm::KeptPanels kept(1 << 20);
    for (const int threads : {1, 2, 3}) {
      const k::RuntimeScope some({.gemm = k::GemmPath::kNativeBf16, .threads = threads});
      CHECK(equal_bytes(k::lora_linear(x, base, {&lora, 1}, nullptr), whole));
      CHECK(equal_bytes(k::lora_linear(x.narrow(0, 40, 333), base, {&lora, 1}, nullptr), whole.narrow(0, 40, 333)));
    }
    CHECK(kept.bytes() > 0);
    // A thin product beside is the same where none of the weight is asked for, as at a run's first layer.
    at::Tensor beside = torch::empty({1300, 6}), alone = torch::empty({1300, 6}), y = torch::empty({1300, 70});
    gemm::multiply(1300, 136, {{x}}, {{a.t(), beside, 0, 130}}, {{y, {{0, gemm::Right::of_transposed(base)}}}});
    gemm::multiply(1300, 136, {{x}}, {{a.t(), alone, 0, 130}}, {});
    CHECK(equal_bytes(beside, alone));
  });
}

TEST_CASE("the bytes of products in bf16 depend neither on threads nor on the rows beside", "[unit]") {
  torch::manual_seed(53);
  const k::RuntimeScope scope(kNative);
  with_each_kernel([] {
    const at::Tensor x = random({1300, 130}, at::kBFloat16), w = random({70, 130}, at::kBFloat16), a = random({6, 130}), b = random({70, 6});
    k::LoraOperand lora;
    lora.a = a, lora.b = b;
    const k::BaseWeight base = k::BaseWeight::dense(w);
    const at::Tensor whole = k::lora_linear(x, base, {&lora, 1}, nullptr);
    for (const int threads : {1, 2, 3}) {
      const k::RuntimeScope some({.gemm = k::GemmPath::kNativeBf16, .threads = threads});
      CHECK(equal_bytes(k::lora_linear(x, base, {&lora, 1}, nullptr), whole));
      CHECK(equal_bytes(k::lora_linear(x.narrow(0, 40, 333), base, {&lora, 1}, nullptr), whole.narrow(0, 40, 333)));
    }
  });
}

TEST_CASE("panels that are kept in bf16 give the bytes of those packed as they are used, in half the memory of fp32's", "[unit]") {
  torch::manual_seed(55);
  const k::RuntimeScope scope(kNative);
  with_each_kernel([] {
    const at::Tensor x = random({50, 130}, at::kBFloat16), g = random({50, 70}, at::kBFloat16);
    const k::BaseWeight base = k::BaseWeight::dense(random({70, 130}, at::kBFloat16));
    const auto both = [&] { return std::pair(k::base_forward(x, base), k::base_backward(g, base)); };
    const auto packed = both();
    const gemm::KeptPanels kept(1 << 20);
    for (int again = 0; again < 2; ++again) {
      const auto found = both();
      CHECK(equal_bytes(found.first, packed.first));
      CHECK(equal_bytes(found.second, packed.second));
    }
    CHECK(kept.bytes() == 2 * (96 * 160 + 160 * 96));
  });
}

TEST_CASE("attention in bf16 is its fp64 twin's within what bf16 rounds, with windows, caps, sinks, groups and caches", "[unit]") {
  torch::manual_seed(54);
  with_each_kernel([] {
    for (const std::int64_t d : {64, 20, 96}) {
      for (const int kind : {0, 1, 2, 3}) {
        INFO("head of " << d << ", kind " << kind);
        const k::Segments segments = kind == 3 ? k::Segments{{0, 40}, {0, 200}} : k::Segments{{0, 150, 183, 200}, {0, 150, 183, 200}};
        const std::int64_t n = segments.q_offsets.back(), m = segments.k_offsets.back();
        Tensors inputs{random({n, 4, d}, at::kBFloat16), random({m, 2, d}, at::kBFloat16), random({m, 2, d}, at::kBFloat16),
                       random({4}, at::kBFloat16)};
        const Op op = [&](const Tensors& x) {
          k::AttentionOptions options;
          options.scale = 1 / std::sqrt(static_cast<double>(d));
          if (kind == 1) options.window = 37;
          if (kind == 1) options.cap = 20;
          if (kind == 2) options.sinks = x[3];
          return k::attention(x[0], x[1], x[2], segments, options);
        };
        const std::vector<bool> trains{true, true, true, kind == 2};
        const k::RuntimeScope native(kNative);
        const Tensors found = run(op, inputs, trains);
        const k::RuntimeScope twins({.mode = k::Mode::kComposite});
        const Tensors expected = run(op, to(inputs, at::kDouble), trains);
        for (std::size_t i = 0; i < found.size(); ++i) {
          INFO("tensor " << i);
          if (found[i].defined()) CHECK(distance(found[i], expected[i]) < 0.015);
        }
      }
    }
  });
}
