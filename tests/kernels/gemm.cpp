#include "lowrank/kernels/gemm.h"

#include <variant>

#include "lowrank/core/error.h"
#include "lowrank/kernels/base_form.h"
#include "lowrank/kernels/base_weight.h"
#include "lowrank/kernels/gemm/kept.h"
#include "lowrank/kernels/gemm/micro.h"
#include "lowrank/kernels/gemm/product.h"
#include "lowrank/kernels/lora_linear.h"
#include "lowrank/kernels/mxfp4.h"
#include "support.h"

namespace k = lowrank::kernels;
namespace gemm = lowrank::kernels::gemm;
using namespace kernel_test;

namespace {

constexpr k::Runtime kOwn{.gemm = k::GemmPath::kOwn};

// Every instruction set that this CPU has, the widest last.
std::vector<gemm::InstructionSet> sets() {
  std::vector<gemm::InstructionSet> result;
  for (const auto set :
       {gemm::InstructionSet::kBaseline, gemm::InstructionSet::kAvx2, gemm::InstructionSet::kAvx512}) {
    if (gemm::has_instruction_set(set)) result.push_back(set);
  }
  return result;
}

struct Forced {
  explicit Forced(gemm::InstructionSet set) { gemm::force_instruction_set(set); }
  ~Forced() { gemm::force_instruction_set(gemm::InstructionSet::kDetected); }
};

struct Shape {
  std::int64_t rows, out, in;
};
const std::vector<Shape> kShapes{{32, 1, 1},    {33, 7, 5},      {45, 33, 64},   {64, 31, 129},
                                 {85, 100, 77}, {100, 513, 515}, {131, 64, 1200}, {1200, 40, 30}};

at::Tensor exact(const at::Tensor& x, const at::Tensor& w) { return x.to(at::kDouble).matmul(w.to(at::kDouble)); }

}  // namespace

TEST_CASE("our products are those of fp64, at every edge, with each instruction set", "[unit]") {
  torch::manual_seed(5);
  const k::RuntimeScope scope(kOwn);
  for (const auto set : sets()) {
    const Forced forced(set);
    for (const Shape& s : kShapes) {
      const at::Tensor x = random({s.rows, s.in}), g = random({s.rows, s.out}), w = random({s.out, s.in});
      INFO(gemm::name(set) << " " << s.rows << "x" << s.out << "x" << s.in);
      for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
        for (const bool transposed : {false, true}) {
          const at::Tensor stored = w.to(dtype);
          const k::BaseWeight base = transposed ? k::BaseWeight::dense(stored.t().contiguous(), {}, {.transposed = true})
                                                : k::BaseWeight::dense(stored);
          at::Tensor y = torch::full({s.rows, s.out}, NAN), dx = torch::full({s.rows, s.in}, NAN);
          k::multiply_transposed(y, x, base);
          k::multiply(dx, g, base);
          CHECK(distance(y, exact(x, stored.t())) < 2e-6);
          CHECK(distance(dx, exact(g, stored)) < 2e-6);
        }
      }
    }
  }
}

TEST_CASE("operands of our products may be parts of larger tensors", "[unit]") {
  torch::manual_seed(6);
  const k::RuntimeScope scope(kOwn);
  const at::Tensor all_x = random({90, 100}), all_w = random({80, 100});
  const at::Tensor x = all_x.narrow(0, 3, 70).narrow(1, 5, 60), w = all_w.narrow(1, 20, 60);
  at::Tensor all = torch::zeros({90, 200});
  at::Tensor y = all.narrow(0, 10, 70).narrow(1, 50, 80);
  k::multiply_transposed(y, x, k::BaseWeight::dense(w));
  CHECK(distance(y, exact(x, w.t())) < 2e-6);
  CHECK(all.narrow(0, 0, 10).abs().max().item<double>() == 0);
  CHECK(all.narrow(1, 0, 50).abs().max().item<double>() == 0);
  CHECK(all.narrow(1, 130, 70).abs().max().item<double>() == 0);
  const k::BaseWeight rows = k::BaseWeight::dense(w, {}, {.row_begin = 7, .rows = 33});
  at::Tensor part = torch::empty({70, 33});
  k::multiply_transposed(part, x, rows);
  CHECK(distance(part, exact(x, w.narrow(0, 7, 33).t())) < 2e-6);
}

TEST_CASE("our products' bytes depend on neither threads, rows nor the instruction set", "[unit]") {
  torch::manual_seed(7);
  const k::RuntimeScope scope(kOwn);
  const at::Tensor x = random({1300, 700}), g = random({1300, 257}), w = random({257, 700}, at::kBFloat16);
  const k::BaseWeight base = k::BaseWeight::dense(w);
  const auto products = [&](std::int64_t first, std::int64_t rows) {
    at::Tensor y = torch::empty({rows, 257}), dx = torch::empty({rows, 700});
    k::multiply_transposed(y, x.narrow(0, first, rows), base);
    k::multiply(dx, g.narrow(0, first, rows), base);
    return Tensors{y, dx};
  };
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const Tensors expected = products(0, 1300);
  for (const int threads : {2, 3}) {
    at::set_num_threads(threads);
    const Tensors found = products(0, 1300);
    for (std::size_t i = 0; i < 2; ++i) CHECK(equal_bytes(found[i], expected[i]));
  }
  at::set_num_threads(before);
  const Tensors some = products(200, 77);
  for (std::size_t i = 0; i < 2; ++i) CHECK(equal_bytes(some[i], expected[i].narrow(0, 200, 77)));
  for (const auto set : sets()) {
    if (set == gemm::InstructionSet::kBaseline) continue;  // no fused multiply-adds
    const Forced forced(set);
    const Tensors found = products(0, 1300);
    for (std::size_t i = 0; i < 2; ++i) CHECK(equal_bytes(found[i], expected[i]));
  }
}

TEST_CASE("products of a few rows are those of fp64, and their bytes depend on neither threads, rows nor the instruction set", "[unit]") {
  torch::manual_seed(17);
  const k::RuntimeScope scope(kOwn);
  const int before = at::get_num_threads();
  for (const auto& [out, in] : {std::pair(1, 1), {7, 5}, {33, 64}, {131, 129}, {513, 700}}) {
    const at::Tensor x = random({31, in}), w = random({out, in});
    for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
      for (const bool transposed : {false, true}) {
        const at::Tensor stored = w.to(dtype);
        const k::BaseWeight base = transposed ? k::BaseWeight::dense(stored.t().contiguous(), {}, {.transposed = true})
                                              : k::BaseWeight::dense(stored);
        const auto product = [&](std::int64_t first, std::int64_t rows) {
          at::Tensor y = torch::full({rows, out}, NAN);
          k::multiply_transposed(y, x.narrow(0, first, rows), base);
          return y;
        };
        INFO(out << "x" << in << " " << dtype);
        at::set_num_threads(1);
        const at::Tensor expected = product(0, 31);
        CHECK(distance(expected, exact(x, stored.t())) < 2e-6);
        at::set_num_threads(3);
        for (const std::int64_t rows : {1, 2, 3, 4, 5, 30}) CHECK(equal_bytes(product(1, rows), expected.narrow(0, 1, rows)));
        at::set_num_threads(before);
        for (const auto set : sets()) {
          const Forced forced(set);
          const at::Tensor found = product(0, 31);
          CHECK(distance(found, expected) < 2e-6);
          if (set != gemm::InstructionSet::kBaseline) CHECK(equal_bytes(found, expected));  // it has no fused multiply-adds
        }
      }
    }
  }
}

TEST_CASE("products of a few rows with codes have the bytes of those with the decoded weight", "[unit]") {
  torch::manual_seed(18);
  const k::RuntimeScope scope(kOwn);
  for (const auto& [out, in] : {std::pair(1, 64), {37, 63}, {33, 192}, {131, 96}, {70, 1280}}) {
    const at::Tensor x = random({31, in}), w = random({out, in});
    std::vector<std::pair<std::string, std::shared_ptr<const k::BaseStorage>>> forms;
    for (const k::BaseForm form : {k::BaseForm::kInt8, k::BaseForm::kNf4})
      forms.emplace_back(std::string(k::form_name(form)), k::coded_storage(form, k::encoded(form, w), out, in, {}));
    if (in % 32 == 0) {
      const at::Tensor blocks = torch::randint(0, 256, {out, in / 32, 16}, at::kByte), scales = torch::randint(100, 140, {out, in / 32}, at::kByte);
      forms.emplace_back("mxfp4", k::mxfp4_storage(blocks, scales));
    }
    for (const auto& [name, storage] : forms) {
      INFO(name << " " << out << "x" << in);
      const k::BaseWeight codes(storage);
      CHECK(std::holds_alternative<std::monostate>(codes.codes()) == (name == "nf4" && in % 64 != 0));  // a row begins within a block
      const k::BaseWeight dense = k::BaseWeight::dense(codes.rows(0, out, at::kFloat));
      for (const auto set : sets()) {
        const Forced forced(set);
        for (const std::int64_t rows : {1, 2, 5, 31}) {
          at::Tensor found = torch::full({rows, out}, NAN), expected = found.clone();
          k::multiply_transposed(found, x.narrow(0, 0, rows), codes);
          k::multiply_transposed(expected, x.narrow(0, 0, rows), dense);
          CHECK(equal_bytes(found, expected));
        }
      }
    }
  }
}

TEST_CASE("several terms, a bias and thin products pass over one left operand", "[unit]") {
  torch::manual_seed(8);
  const k::RuntimeScope scope(kOwn);
  for (const auto set : sets()) {
    const Forced forced(set);
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      const std::int64_t rows = 75, in = 90, r1 = 4, r2 = 37;
      const at::Tensor x = random({rows, in}, dtype), w = random({50, in}), v = random({33, in});
      const at::Tensor a = random({r1, in}), b = random({50, r1}), a2 = random({r2, in}), b2 = random({50, r2});
      const at::Tensor bias = random({50});
      at::Tensor y = torch::empty({rows, 50}, dtype), z = torch::empty({rows, 33}), t = torch::empty({rows, r1}),
                 t2 = torch::empty({rows, r2});
      gemm::multiply(rows, in + r1 + r2, {{x}}, {{a.t(), t, 0, in}, {a2.t(), t2, 0, in + r1}},
                     {{y,
                       {{0, gemm::Right::of_transposed(k::BaseWeight::dense(w))},
                        {in, gemm::Right::of_matrix(b.t(), 1.5)},
                        {in + r1, gemm::Right::of_matrix(b2.t(), -2)}},
                       bias},
                      {z, {{0, gemm::Right::of_transposed(k::BaseWeight::dense(v))}}}});
      const at::Tensor et = exact(x, a.t()), et2 = exact(x, a2.t());
      const at::Tensor ey = exact(x, w.t()) + 1.5 * exact(et, b.t()) - 2 * exact(et2, b2.t()) + bias;
      INFO(gemm::name(set) << " " << dtype);
      CHECK(distance(t, et) < 2e-6);
      CHECK(distance(t2, et2) < 2e-6);
      CHECK(distance(z, exact(x, v.t())) < 2e-6);
      CHECK(distance(y, ey) < (dtype == at::kFloat ? 2e-6 : 4e-3));
    }
  }
}

TEST_CASE("a first term is kept, and scaled by columns, before the others are added", "[unit]") {
  torch::manual_seed(11);
  const k::RuntimeScope scope(kOwn);
  for (const auto set : sets()) {
    const Forced forced(set);
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      const std::int64_t rows = 70, in = 700, out = 53, rank = 5;
      const at::Tensor x = random({rows, in}), w = random({out, in}), a = random({rank, in}), b = random({out, rank});
      const at::Tensor gain = random({out}), bias = random({out});
      at::Tensor y = torch::empty({rows, out}, dtype), kept = torch::empty({rows, out}, dtype), t = torch::empty({rows, rank});
      gemm::multiply(rows, in + rank, {{x}}, {{a.t(), t, 0, in}},
                     {{y,
                       {{0, gemm::Right::of_transposed(k::BaseWeight::dense(w)), gain, kept},
                        {in, gemm::Right::of_matrix(b.t(), 2)}},
                       bias}});
      const at::Tensor product = exact(x, w.t());
      const double bound = dtype == at::kFloat ? 2e-6 : 4e-3;
      INFO(gemm::name(set) << " " << dtype);
      CHECK(distance(kept, product) < bound);
      CHECK(distance(y, product * gain + 2 * exact(exact(x, a.t()), b.t()) + bias) < bound);
    }
  }
}

TEST_CASE("rows that are read as they lie and rows that are packed give the same bytes", "[unit]") {
  torch::manual_seed(12);
  const k::RuntimeScope scope(kOwn);
  for (const auto set : sets()) {
    const Forced forced(set);
    const at::Tensor x = random({75, 700}), apart = torch::empty({75, 1024}).narrow(1, 8, 700).copy_(x);
    const k::BaseWeight base = k::BaseWeight::dense(random({90, 700}));
    k::LoraOperand lora;
    lora.a = random({4, 700}), lora.b = random({90, 4});
    CHECK(equal_bytes(k::lora_linear(apart, base, {&lora, 1}, nullptr), k::lora_linear(x, base, {&lora, 1}, nullptr)));
  }
}

TEST_CASE("the gradients of thin matrices are those of fp64, at every edge", "[unit]") {
  torch::manual_seed(9);
  const k::RuntimeScope scope(kOwn);
  for (const auto set : sets()) {
    const Forced forced(set);
    for (const Shape& s : kShapes) {
      for (const std::int64_t rank : {std::int64_t{1}, std::int64_t{4}, std::int64_t{16}, std::int64_t{64}}) {
        for (const auto dtype : {at::kFloat, at::kBFloat16}) {
          const at::Tensor u = random({s.rows, rank}), all = random({s.rows, s.out + 9}, dtype),
                           y = all.narrow(1, 4, s.out);
          at::Tensor da = torch::full({rank, s.out}, NAN), db = torch::full({s.out, rank}, NAN);
          gemm::multiply_outer(da, u, y, 0.5, false);
          gemm::multiply_outer(db, u, y, 0.5, true);
          const at::Tensor expected = 0.5 * exact(u.t(), y);
          INFO(gemm::name(set) << " " << s.rows << "x" << s.out << " rank " << rank);
          CHECK(distance(da, expected) < 2e-6);
          CHECK(equal_bytes(da, db.t()));
        }
      }
    }
  }
}

TEST_CASE("an instruction set that is not there is refused", "[unit]") {
  CHECK(gemm::has_instruction_set(gemm::widest_instruction_set()));
  CHECK(gemm::instruction_set() != gemm::InstructionSet::kDetected);
  for (const auto set : {gemm::InstructionSet::kAvx2, gemm::InstructionSet::kAvx512}) {
    if (!gemm::has_instruction_set(set)) CHECK_THROWS_AS(gemm::force_instruction_set(set), lowrank::InternalError);
  }
}

TEST_CASE("panels that are kept give the bytes of those packed as they are used", "[unit]") {
  torch::manual_seed(10);
  const k::RuntimeScope scope(kOwn);
  for (const auto set : sets()) {
    const Forced forced(set);
    const at::Tensor w = random({70, 1100}, at::kBFloat16);
    const k::BaseWeight base = k::BaseWeight::dense(w, random({70})), other = k::BaseWeight::dense(random({40, 1100}));
    const at::Tensor x = random({50, 1100}), g = random({50, 70});
    k::LoraOperand lora;
    lora.a = random({4, 1100}), lora.b = random({70, 4});
    const auto products = [&] {
      return Tensors{k::lora_linear(x, base, {&lora, 1}, nullptr), k::base_backward(g, base), k::base_forward(x, other)};
    };
    const Tensors streamed = products();
    const std::int64_t width = gemm::micro_kernel().columns;
    const auto size = [&](std::int64_t inner, std::int64_t columns) {
      return 4 * inner * ((columns + width - 1) / width * width);
    };
    {
      const gemm::KeptPanels keeper(size(1100, 70) + size(70, 1100));  // no room for the other weight's
      for (int i = 0; i < 2; ++i) {
        const Tensors kept = products();
        for (std::size_t t = 0; t < 3; ++t) CHECK(equal_bytes(kept[t], streamed[t]));
      }
      CHECK(keeper.bytes() == size(1100, 70) + size(70, 1100));
      const gemm::KeptPanels second(std::int64_t{1} << 30);  // the first counts
      products();
      CHECK(second.bytes() == 0);
    }
    const gemm::KeptPanels again(std::int64_t{1} << 30);
    at::Tensor leaf = random({70, 1100}).requires_grad_();
    k::lora_linear(x, k::BaseWeight::dense(leaf), {}, nullptr);
    CHECK(again.bytes() == 0);  // a trained weight's values change
  }
}
