#include "lowrank/kernels/lora_linear.h"

#include "lowrank/core/error.h"
#include "lowrank/kernels/gemm.h"
#include "lowrank/kernels/lora_group.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;

namespace {

struct Case {
  std::int64_t rows = 37, in = 63, out = 45, rank = 5;
  double dropout = 0;
  bool bias = true;
  int adapters = 1;
};

std::vector<std::int64_t> plan(std::int64_t rows) {
  std::vector<std::int64_t> tokens;
  for (std::int64_t i = 0; i < rows; ++i) tokens.push_back(1000 + 3 * i);
  return tokens;
}

// Inputs are x, W, bias, A₁, B₁, A₂, B₂, …
Tensors inputs_of(const Case& c, at::ScalarType dtype, at::ScalarType adapter_dtype) {
  torch::manual_seed(1);
  Tensors inputs{random({c.rows, c.in}, dtype), random({c.out, c.in}, dtype, 0.2), random({c.out}, dtype)};
  for (int i = 0; i < c.adapters; ++i) {
    inputs.push_back(random({c.rank + i, c.in}, adapter_dtype, 0.2));
    inputs.push_back(random({c.out, c.rank + i}, adapter_dtype, 0.5));
  }
  return inputs;
}

Op op_of(const Case& c) {
  return [c](const Tensors& inputs) {
    const std::vector<std::int64_t> tokens = plan(c.rows);
    k::DropoutContext context;
    context.step = 11;
    context.token_in_step = tokens.data();
    std::vector<k::LoraOperand> adapters;
    for (int i = 0; i < c.adapters; ++i) {
      k::LoraOperand lora;
      lora.a = inputs[static_cast<std::size_t>(3 + 2 * i)];
      lora.b = inputs[static_cast<std::size_t>(4 + 2 * i)];
      lora.scale = 1.5 + i;
      lora.dropout = c.dropout;
      lora.dropout_key = {77, static_cast<std::uint32_t>(i)};
      adapters.push_back(lora);
    }
    const k::BaseWeight base = k::BaseWeight::dense(inputs[1], c.bias ? inputs[2] : at::Tensor());
    return k::lora_linear(inputs[0], base, adapters, &context);
  };
}

std::vector<bool> trains(const Case& c, bool x, bool weight) {
  std::vector<bool> result{x, weight, weight && c.bias};
  result.resize(static_cast<std::size_t>(3 + 2 * c.adapters), true);
  return result;
}

}  // namespace

TEST_CASE("lora_linear equals its twin in fp64", "[unit]") {
  for (const Case& c :
       {Case{}, Case{1, 63, 45, 5, 0.3}, Case{150, 63, 45, 5, 0.3, false}, Case{300, 65, 70, 4, 0, true, 2},
        Case{64, 16, 16, 16, 0.5, true, 2}, Case{130, 16, 24, 1, 0, true, 0}}) {
    for (const bool full : {false, true}) {
      INFO(c.rows << " rows, dropout " << c.dropout << ", " << c.adapters << " adapters, full " << full);
      require_twins(op_of(c), inputs_of(c, at::kDouble, at::kDouble), trains(c, true, full), 1e-11);
    }
  }
}

TEST_CASE("lora_linear's gradients are those of finite differences", "[unit]") {
  const Case c{13, 9, 7, 3, 0.25, true, 2};
  require_finite_differences(op_of(c), inputs_of(c, at::kDouble, at::kDouble), trains(c, true, true));
}

TEST_CASE("lora_linear equals its twin in fp32", "[unit]") {
  for (const Case& c : {Case{}, Case{257, 576, 192, 16, 0.1}, Case{1, 64, 45, 5}}) {
    require_twins(op_of(c), inputs_of(c, at::kFloat, at::kFloat), trains(c, true, true), 1e-5);
  }
}

// Both round to 8 bits of mantissa, at different places: half a per cent of the largest element, twice over.
TEST_CASE("lora_linear in bf16 is within 1 % of its fp64 twin, with fp32 gradients of the adapters", "[unit]") {
  for (const k::GemmPath path : {k::GemmPath::kPlain, k::GemmPath::kOwn, k::GemmPath::kNativeBf16}) {
    const k::RuntimeScope scope({.gemm = path});
    for (const Case& c : {Case{}, Case{200, 128, 96, 8, 0.1}, Case{5, 63, 45, 5, 0, true, 2}}) {
      const Tensors inputs = inputs_of(c, at::kBFloat16, at::kFloat);
      const Tensors half = run(op_of(c), inputs, trains(c, true, true));
      CHECK(half[0].scalar_type() == at::kBFloat16);
      CHECK(half[4].scalar_type() == at::kFloat);
      const k::RuntimeScope composite({.mode = k::Mode::kComposite});
      const Tensors exact = run(op_of(c), to(inputs, at::kDouble), trains(c, true, true));
      for (std::size_t i = 0; i < half.size(); ++i) {
        INFO(k::name(path) << " tensor " << i);
        CHECK(distance(half[i], exact[i]) <= 0.01);
      }
    }
  }
}

TEST_CASE("a bf16 weight serves fp32 activations without a copy of the weight", "[unit]") {
  const Case c{200, 96, 4480, 4};  // more than one block of converted rows would be 4.3 M elements
  Tensors inputs = inputs_of(c, at::kFloat, at::kFloat);
  inputs[1] = inputs[1].to(at::kBFloat16);
  require_twins(op_of(c), inputs, trains(c, true, false), 1e-5);
}

TEST_CASE("every path gives its twin's product", "[unit]") {
  for (const auto path : {k::GemmPath::kPlain, k::GemmPath::kOwn, k::GemmPath::kNativeBf16}) {
    const k::RuntimeScope scope({.gemm = path});
    for (const Case& c : {Case{300, 63, 45, 5, 0.2}, Case{100, 128, 96, 8}, Case{7, 63, 45, 5, 0, true, 2}, Case{7, 63, 45, 5, 0.2}}) {
      require_twins(op_of(c), inputs_of(c, at::kFloat, at::kFloat), trains(c, true, true), 1e-5);
    }
  }
}

TEST_CASE("a large bf16 weight is converted in blocks", "[unit]") {
  torch::manual_seed(3);
  const at::Tensor w = random({2200, 2048}, at::kBFloat16, 0.02), x = random({96, 2048}), g = random({96, 2200});
  const k::BaseWeight base = k::BaseWeight::dense(w);
  CHECK(distance(k::base_forward(x, base), x.to(at::kDouble).matmul(w.to(at::kDouble).t())) < 1e-5);
  CHECK(distance(k::base_backward(g, base), g.to(at::kDouble).matmul(w.to(at::kDouble))) < 1e-5);
  const at::Tensor one = x.narrow(0, 0, 1);
  CHECK(distance(k::base_forward(one, base), one.to(at::kDouble).matmul(w.to(at::kDouble).t())) < 1e-5);
}

TEST_CASE("lora_linear's bytes do not depend on the number of threads", "[unit]") {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const Case& c : {Case{37, 63, 45, 5, 0.1}, Case{1, 63, 45, 5}, Case{3, 576, 193, 7},
                          Case{301, 65, 131, 16, 0.1}, Case{515, 96, 63, 3, 0, true, 2}, Case{1027, 64, 48, 16}}) {
      INFO(c.rows << "×" << c.in << "×" << c.out << " " << dtype);
      require_thread_independence(op_of(c), inputs_of(c, dtype, at::kFloat), trains(c, true, true));
    }
  }
  const k::RuntimeScope scope({.gemm = k::GemmPath::kPlain});
  const Case c{301, 65, 131, 16, 0.1};
  require_thread_independence(op_of(c), inputs_of(c, at::kFloat, at::kFloat), trains(c, true, true));
}

TEST_CASE("lora_linear gives gradients only where they are asked for", "[unit]") {
  const Case c;
  const Tensors inputs = inputs_of(c, at::kFloat, at::kFloat);
  const Tensors only_b = run(op_of(c), inputs, {false, false, false, false, true});
  CHECK_FALSE(only_b[1].defined());
  CHECK_FALSE(only_b[2].defined());
  CHECK_FALSE(only_b[4].defined());
  CHECK(only_b[5].defined());
  const Tensors only_x = run(op_of(c), inputs, {true, false, false, false, false});
  CHECK(only_x[1].defined());
  CHECK_FALSE(only_x[4].defined());
  CHECK_FALSE(op_of(c)(inputs).requires_grad());
}

TEST_CASE("lora_linear keeps x itself for its backward pass, with dropout too, and no copy of it", "[unit]") {
  Case c{128, 64, 64, 4, 0.5, false};
  Tensors inputs = inputs_of(c, at::kFloat, at::kFloat);
  for (const std::size_t i : {0, 3, 4}) inputs[i].requires_grad_(true);
  const auto uses = inputs[0].getIntrusivePtr().use_count();
  const at::Tensor y = op_of(c)(inputs);
  CHECK(inputs[0].getIntrusivePtr().use_count() > uses);  // x itself is held, not a copy
}

TEST_CASE("lora_linear names the shapes that do not fit", "[unit]") {
  const Case c;
  Tensors inputs = inputs_of(c, at::kFloat, at::kFloat);
  inputs[3] = random({5, 62});
  CHECK_THROWS_AS(op_of(c)(inputs), lowrank::InternalError);
}

TEST_CASE("layers that read one input give what each gives alone", "[unit]") {
  for (const auto path : {k::GemmPath::kPlain, k::GemmPath::kOwn, k::GemmPath::kNativeBf16}) {
    const k::RuntimeScope scope({.gemm = path});
    for (const std::int64_t rows : {std::int64_t{5}, std::int64_t{77}}) {
      torch::manual_seed(12);
      // x, W₁, W₂, W₃, A₁, B₁, A₂, B₂; the third layer has no adapter.
      const Tensors inputs{random({rows, 50}),        random({40, 50}, at::kFloat, 0.2), random({17, 50}, at::kFloat, 0.2),
                           random({9, 50}, at::kFloat, 0.2), random({4, 50}),            random({40, 4}),
                           random({7, 50}),           random({17, 7})};
      const std::vector<bool> trained{true, false, false, false, true, true, true, true};
      const auto layers = [](const Tensors& in) {
        std::vector<k::LoraLayer> result(3);
        for (std::size_t i = 0; i < 3; ++i) result[i].base = k::BaseWeight::dense(in[1 + i]);
        for (std::size_t i = 0; i < 2; ++i) {
          k::LoraOperand& lora = result[i].adapters.emplace_back();
          lora.a = in[4 + 2 * i], lora.b = in[5 + 2 * i], lora.scale = 1.5 - static_cast<double>(i);
        }
        return result;
      };
      const Op together = [&](const Tensors& in) { return at::cat(k::lora_linears(in[0], layers(in), nullptr), 1); };
      const Op alone = [&](const Tensors& in) {
        Tensors outputs;
        for (const k::LoraLayer& layer : layers(in))
          outputs.push_back(k::lora_linear(in[0], layer.base, layer.adapters, nullptr));
        return at::cat(outputs, 1);
      };
      INFO(k::name(path) << ", " << rows << " rows");
      require_twins(together, inputs, trained, 1e-5);
      const Tensors one = run(together, inputs, trained), each = run(alone, inputs, trained);
      CHECK(equal_bytes(one[0], each[0]));
      for (const std::size_t i : {5, 6, 7, 8}) CHECK(equal_bytes(one[i], each[i]));
      CHECK(distance(one[1], each[1]) < 1e-6);
      require_thread_independence(together, inputs, trained);
      // A gradient of the second output alone.
      const Op second = [&](const Tensors& in) { return k::lora_linears(in[0], layers(in), nullptr)[1]; };
      require_twins(second, inputs, {true, false, false, false, false, false, true, true}, 1e-5);
    }
  }
}
