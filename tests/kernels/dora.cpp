// DoRA in lora_linear, and the norms that it divides by.
#include "lowrank/core/error.h"
#include "lowrank/kernels/gemm.h"
#include "lowrank/kernels/lora_linear.h"
#include "lowrank/kernels/row_norms.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;

namespace {

struct DoraCase {
  std::int64_t rows = 37, in = 63, out = 45, rank = 5;
  double dropout = 0;
  bool bias = true;
  bool plain_too = false, dora_too = false;  // a second adapter without a magnitude; a third one with it
};

// x, W, bias, A, B, m, then of the plain one A, B, then of the third A, B, m.
Tensors inputs_of(const DoraCase& c, at::ScalarType dtype, at::ScalarType adapter_dtype) {
  torch::manual_seed(21);
  Tensors inputs{random({c.rows, c.in}, dtype), random({c.out, c.in}, dtype, 0.2), random({c.out}, dtype)};
  const auto pair = [&](std::int64_t rank) {
    inputs.push_back(random({rank, c.in}, adapter_dtype, 0.2));
    inputs.push_back(random({c.out, rank}, adapter_dtype, 0.5));
  };
  const auto magnitude = [&] { inputs.push_back(random({c.out}, adapter_dtype, 0.3).add_(1.6)); };
  pair(c.rank);
  magnitude();
  if (c.plain_too) pair(c.rank + 1);
  if (c.dora_too) {
    pair(2);
    magnitude();
  }
  return inputs;
}

// The norms are constants of the op, whatever happens to A and B in a difference quotient: DoRA's §4.3.
Op op_of(const DoraCase& c) {
  torch::manual_seed(22);
  const at::Tensor norms = torch::rand({c.out}, at::kDouble).add_(1), third = torch::rand({c.out}, at::kDouble).add_(1);
  return [c, norms, third](const Tensors& inputs) {
    std::vector<std::int64_t> tokens;
    for (std::int64_t i = 0; i < c.rows; ++i) tokens.push_back(500 + 7 * i);
    k::DropoutContext context;
    context.step = 3;
    context.token_in_step = tokens.data();
    std::vector<k::LoraOperand> adapters(1);
    adapters[0].a = inputs[3];
    adapters[0].b = inputs[4];
    adapters[0].magnitude = inputs[5];
    adapters[0].norms = norms.to(inputs[5].scalar_type());
    std::size_t next = 6;
    if (c.plain_too) {
      adapters.emplace_back();
      adapters.back().a = inputs[next++];
      adapters.back().b = inputs[next++];
    }
    if (c.dora_too) {
      adapters.emplace_back();
      adapters.back().a = inputs[next++];
      adapters.back().b = inputs[next++];
      adapters.back().magnitude = inputs[next++];
      adapters.back().norms = third.to(inputs[5].scalar_type());
    }
    std::uint32_t i = 0;
    for (k::LoraOperand& lora : adapters) {
      lora.scale = 1.5 - 0.25 * i;
      lora.dropout = c.dropout;
      lora.dropout_key = {78, i++};
    }
    return k::lora_linear(inputs[0], k::BaseWeight::dense(inputs[1], c.bias ? inputs[2] : at::Tensor()), adapters,
                          &context);
  };
}

std::vector<bool> trains(const DoraCase& c, const Tensors& inputs, bool x) {
  std::vector<bool> result(inputs.size(), true);
  result[0] = x;
  result[1] = false;  // the base is frozen
  result[2] = c.bias;
  return result;
}

const std::vector<DoraCase>& dora_cases() {
  static const std::vector<DoraCase> all = {DoraCase{},
                                        DoraCase{1, 63, 45, 5, 0.3},
                                        DoraCase{150, 63, 45, 5, 0.3, false},
                                        DoraCase{300, 65, 70, 4, 0, true, true},
                                        DoraCase{64, 16, 16, 16, 0.5, true, true, true},
                                        DoraCase{130, 16, 24, 1, 0, false, true, true}};
  return all;
}

}  // namespace

TEST_CASE("DoRA's lora_linear equals its twin in fp64", "[unit]") {
  for (const DoraCase& c : dora_cases()) {
    for (const bool x : {true, false}) {
      INFO(c.rows << " rows, dropout " << c.dropout << ", gradient of x " << x);
      const Tensors inputs = inputs_of(c, at::kDouble, at::kDouble);
      require_twins(op_of(c), inputs, trains(c, inputs, x), 1e-11);
    }
  }
}

TEST_CASE("DoRA's gradients are those of finite differences with the norm held", "[unit]") {
  for (const DoraCase& c : {DoraCase{13, 9, 7, 3, 0.25, true, true, true}, DoraCase{13, 9, 7, 3, 0, true, false, true}}) {
    const Tensors inputs = inputs_of(c, at::kDouble, at::kDouble);
    require_finite_differences(op_of(c), inputs, trains(c, inputs, true));
  }
}

TEST_CASE("DoRA equals its twin in fp32, packed or not, and is near it in bf16", "[unit]") {
  for (const k::GemmPath path : {k::GemmPath::kPlain, k::GemmPath::kOwn, k::GemmPath::kNativeBf16}) {
    const k::RuntimeScope scope({.gemm = path});
    for (const DoraCase& c : {DoraCase{257, 96, 192, 16, 0.1}, DoraCase{100, 128, 96, 8}, DoraCase{90, 63, 45, 5, 0.3, true, true, true},
                          DoraCase{90, 63, 45, 5, 0, true, true, true}, DoraCase{7, 63, 45, 5, 0, true, true, true}}) {
      INFO(k::name(path) << ", dropout " << c.dropout);
      const Tensors inputs = inputs_of(c, at::kFloat, at::kFloat);
      require_twins(op_of(c), inputs, trains(c, inputs, true), 1e-5);
      const Tensors brain = inputs_of(c, at::kBFloat16, at::kFloat);
      const Tensors half = run(op_of(c), brain, trains(c, brain, true));
      CHECK(half[0].scalar_type() == at::kBFloat16);
      const k::RuntimeScope composite({.mode = k::Mode::kComposite});
      const Tensors exact = run(op_of(c), to(brain, at::kDouble), trains(c, brain, true));
      for (std::size_t i = 0; i < half.size(); ++i) {
        if (half[i].defined()) CHECK(distance(half[i], exact[i]) <= 0.01);
      }
    }
  }
}

TEST_CASE("DoRA's bytes do not depend on the number of threads", "[unit]") {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const DoraCase& c : {DoraCase{37, 63, 45, 5, 0.1}, DoraCase{1, 63, 45, 5}, DoraCase{515, 96, 63, 3, 0, true, true, true},
                          DoraCase{130, 96, 63, 3, 0.2, true, true, true}}) {
      const Tensors inputs = inputs_of(c, dtype, at::kFloat);
      require_thread_independence(op_of(c), inputs, trains(c, inputs, true));
    }
  }
}

TEST_CASE("a magnitude alone can be trained, and a frozen one takes nothing", "[unit]") {
  const DoraCase c;
  const Tensors inputs = inputs_of(c, at::kDouble, at::kDouble);
  std::vector<bool> only(inputs.size(), false);
  only[5] = true;
  require_twins(op_of(c), inputs, only, 1e-11);
  only[5] = false;
  only[4] = true;
  require_twins(op_of(c), inputs, only, 1e-11);
}

TEST_CASE("a frozen pair beside a trained one gets no gradient, and x still has both", "[unit]") {
  torch::manual_seed(23);
  const Tensors inputs{random({20, 12}, at::kDouble), random({9, 12}, at::kDouble), random({3, 12}, at::kDouble),
                       random({9, 3}, at::kDouble),   random({3, 12}, at::kDouble), random({9, 3}, at::kDouble)};
  const Op op = [](const Tensors& t) {
    std::vector<k::LoraOperand> adapters(2);
    adapters[0].a = t[2];
    adapters[0].b = t[3];
    adapters[0].scale = -2;
    adapters[1].a = t[4];
    adapters[1].b = t[5];
    adapters[1].scale = 2;
    return k::lora_linear(t[0], k::BaseWeight::dense(t[1]), adapters, nullptr);
  };
  require_twins(op, inputs, {true, false, false, false, true, true}, 1e-11);
}

TEST_CASE("row norms by the low-rank identity are those of the dense sum", "[unit]") {
  torch::manual_seed(24);
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const at::Tensor w = random({131, 70}, dtype, 0.2);
    const auto wide = dtype == at::kDouble ? at::kDouble : at::kFloat;
    const at::Tensor a = random({6, 70}, wide, 0.3), b = random({131, 6}, wide, 0.5);
    const at::Tensor squared = k::squared_row_norms(k::BaseWeight::dense(w));
    const at::Tensor dense =
        (w.to(at::kDouble) + 1.75 * b.to(at::kDouble).matmul(a.to(at::kDouble))).norm(2, {1}, false);
    const double bound = dtype == at::kDouble ? 1e-13 : 1e-6;
    CHECK(distance(k::adapted_row_norms(k::BaseWeight::dense(w), squared, a, b, 1.75), dense) <= bound);
    CHECK(distance(k::composite::adapted_row_norms(k::BaseWeight::dense(w), squared, a, b, 1.75), dense) <= bound);
    // B = 0: the weight's own; B A = -W/s: nothing is left, and nothing is below zero.
    CHECK(distance(k::adapted_row_norms(k::BaseWeight::dense(w), squared, a, torch::zeros_like(b), 1.75),
                   w.to(at::kDouble).norm(2, {1}, false)) <= bound);
    const at::Tensor gone =
        k::adapted_row_norms(k::BaseWeight::dense(random({4, 3}, wide).zero_()), torch::zeros({4}, at::kDouble),
                             random({2, 3}, wide), torch::zeros({4, 2}, wide), 1);
    CHECK(gone.min().item<double>() > 0);
    require_thread_independence(
        [&](const Tensors& t) { return k::adapted_row_norms(k::BaseWeight::dense(t[0]), squared, t[1], t[2], 1.75); },
        {w, a, b}, {false, false, false});
  }
}

TEST_CASE("a magnitude that does not fit is named", "[unit]") {
  const DoraCase c;
  Tensors inputs = inputs_of(c, at::kFloat, at::kFloat);
  inputs[5] = random({44});
  CHECK_THROWS_AS(op_of(c)(inputs), lowrank::InternalError);
}
