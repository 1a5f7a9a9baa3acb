#include "lowrank/kernels/base_weight.h"

#include "lowrank/core/error.h"
#include "lowrank/kernels/lora_linear.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/row_norms.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;

namespace {

// W [45, 63] in each layout: what a tensor of the layout is, and how it is given.
struct Kept {
  const char* name;
  at::Tensor tensor;
  k::Layout layout;
};

std::vector<Kept> layouts(const at::Tensor& w) {
  const at::Tensor above = random({7, w.size(1)}, w.scalar_type()), below = random({3, w.size(1)}, w.scalar_type());
  const at::Tensor fused = torch::cat({above, w, below});
  return {{"plain", w, {}},
          {"transposed", w.t().contiguous(), {.transposed = true}},
          {"rows of a larger one", fused, {.row_begin = 7, .rows = w.size(0)}},
          {"rows of a larger one, transposed", fused.t().contiguous(), {true, 7, w.size(0)}}};
}

// A form that is no tensor: every weight a code of one byte.
class Coded : public k::BaseStorage {
 public:
  explicit Coded(const at::Tensor& w) : codes_((w * 32).round().clamp(-127, 127).to(at::kChar)) {}
  std::int64_t out_features() const override { return codes_.size(0); }
  std::int64_t in_features() const override { return codes_.size(1); }
  at::ScalarType dtype() const override { return at::kBFloat16; }
  at::Device device() const override { return codes_.device(); }
  at::Tensor rows(std::int64_t begin, std::int64_t n, at::ScalarType dtype) const override {
    return codes_.narrow(0, begin, n).to(dtype).div(32);
  }
  at::Tensor columns(std::int64_t begin, std::int64_t n, at::ScalarType dtype) const override {
    return codes_.narrow(1, begin, n).to(dtype).div(32);
  }
  at::Tensor rows_at(const at::Tensor& ids) const override { return codes_.index_select(0, ids).to(dtype()).div(32); }

 private:
  at::Tensor codes_;
};

at::Tensor lora_of(const Tensors& t, const k::BaseWeight& base, bool dora) {
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(t[0].size(0)));
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::int64_t>(2 * i);
  k::DropoutContext context;
  context.token_in_step = tokens.data();
  k::LoraOperand lora;
  lora.a = t[1];
  lora.b = t[2];
  lora.scale = 1.5;
  lora.dropout = 0.2;
  if (dora) {
    lora.magnitude = t[3];
    lora.norms = k::adapted_row_norms(base, k::squared_row_norms(base), t[1].detach(), t[2].detach(), lora.scale);
  }
  return k::lora_linear(t[0], base, {&lora, 1}, &context);
}

}  // namespace

TEST_CASE("panels of a weight are its rows and columns in every layout and dtype", "[unit]") {
  torch::manual_seed(21);
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble}) {
    const at::Tensor w = random({45, 63}, dtype), ids = torch::tensor({3, 44, 0, 3});
    for (const Kept& kept : layouts(w)) {
      INFO(kept.name << ", " << dtype);
      const k::BaseWeight base = k::BaseWeight::dense(kept.tensor, {}, kept.layout);
      CHECK(base.out_features() == 45);
      CHECK(base.in_features() == 63);
      CHECK(base.dtype() == dtype);
      CHECK(base.transposed() == kept.layout.transposed);
      CHECK_FALSE(base.trains());
      CHECK_THROWS_AS(base.trained(), lowrank::InternalError);
      for (const auto to : {dtype, at::kFloat, at::kDouble}) {
        CHECK(equal_bytes(base.rows(5, 9, to), w.narrow(0, 5, 9).to(to)));
        CHECK(equal_bytes(base.columns(11, 20, to), w.narrow(1, 11, 20).to(to)));
      }
      CHECK(equal_bytes(base.rows_at(ids), w.index_select(0, ids)));
      CHECK(base.gives_views(dtype));
      CHECK(base.rows(5, 9, dtype).storage().data() == kept.tensor.storage().data());
      CHECK_THROWS_AS(base.rows(40, 6, dtype), lowrank::InternalError);
    }
  }
  CHECK_THROWS_AS(k::BaseWeight::dense(random({4, 3}), random({3})), lowrank::InternalError);
  CHECK_THROWS_AS(k::BaseWeight::dense(random({4, 3}), {}, {.row_begin = 2, .rows = 3}), lowrank::InternalError);
}

TEST_CASE("ops give the same numbers whatever the layout of the weight, fused and as twins", "[unit]") {
  torch::manual_seed(22);
  for (const std::int64_t rows : {3, 100}) {  // few rows are cut by columns of the result
    for (const auto path : {k::GemmPath::kPlain, k::GemmPath::kOwn}) {
      const at::Tensor w = random({45, 63}, at::kFloat, 0.2), labels = torch::randint(45, {rows}, at::kLong);
      const Tensors inputs{random({rows, 63}), random({4, 63}, at::kFloat, 0.2), random({45, 4}), random({45}).abs()};
      const std::vector<bool> all(4, true);
      for (const bool dora : {false, true}) {
        for (const Kept& kept : layouts(w)) {
          INFO(rows << " rows, " << k::name(path) << ", " << kept.name << ", DoRA " << dora);
          const k::BaseWeight base = k::BaseWeight::dense(kept.tensor, {}, kept.layout);
          const Op linear = [&](const Tensors& t) { return lora_of(t, base, dora); };
          const Op head = [&](const Tensors& t) { return k::linear_cross_entropy(t[0], base, labels); };
          const Op plain = [&](const Tensors& t) { return lora_of(t, k::BaseWeight::dense(w), dora); };
          const k::RuntimeScope scope({.gemm = path});
          require_twins(linear, inputs, {true, true, true, dora}, 1e-5);
          require_twins(head, {inputs[0]}, {true}, 1e-5);
          const Tensors found = run(linear, inputs, {true, true, true, dora}),
                        expected = run(plain, inputs, {true, true, true, dora});
          for (std::size_t i = 0; i < found.size(); ++i)
            if (found[i].defined()) CHECK(distance(found[i], expected[i]) < 2e-6);
        }
      }
    }
  }
}

TEST_CASE("a trained weight gets its gradient in its own layout, and rows that are not its own none", "[unit]") {
  torch::manual_seed(23);
  const at::Tensor w = random({45, 63}, at::kDouble, 0.2), x = random({10, 63}, at::kDouble);
  for (const Kept& kept : layouts(w)) {
    INFO(kept.name);
    const k::Layout layout = kept.layout;
    const Op op = [&](const Tensors& t) {
      return k::lora_linear(t[0], k::BaseWeight::dense(t[1], {}, layout), {}, nullptr);
    };
    require_twins(op, {x, kept.tensor}, {true, true}, 1e-11);
    require_finite_differences(op, {x, kept.tensor}, {true, true});
    const at::Tensor leaf = kept.tensor.clone().requires_grad_();
    const k::BaseWeight base = k::BaseWeight::dense(leaf, {}, layout);
    CHECK(base.trains());
    k::lora_linear(x, base, {}, nullptr).sum().backward();
    const at::Tensor gradient = layout.transposed ? leaf.grad().t() : leaf.grad();
    CHECK(distance(gradient.narrow(0, layout.row_begin, 45), x.sum(0).expand({45, 63})) < 1e-12);
    CHECK(gradient.abs().sum().item<double>() ==
          Approx(gradient.narrow(0, layout.row_begin, 45).abs().sum().item<double>()).epsilon(1e-12));
  }
  const at::Tensor leaf = random({4, 3}).requires_grad_();
  CHECK(k::BaseWeight::dense(leaf).trained().is_same(leaf));
}

TEST_CASE("another form of weight is one class: every op runs on it", "[unit]") {
  torch::manual_seed(24);
  const at::Tensor w = random({45, 63}, at::kFloat, 0.5);
  const k::BaseWeight coded(std::make_shared<Coded>(w));
  const k::BaseWeight dense = k::BaseWeight::dense(coded.rows(0, 45, at::kFloat));
  const at::Tensor labels = torch::randint(45, {100}, at::kLong);
  const Tensors inputs{random({100, 63}), random({4, 63}, at::kFloat, 0.2), random({45, 4}), random({45}).abs()};
  CHECK_FALSE(coded.gives_views(at::kBFloat16));
  for (const bool dora : {false, true}) {
    const std::vector<bool> trains{true, true, true, dora};
    const Op op = [&](const Tensors& t) { return lora_of(t, coded, dora); };
    require_twins(op, inputs, trains, 1e-5);
    const Tensors found = run(op, inputs, trains),
                  expected = run([&](const Tensors&t) { return lora_of(t, dense, dora); }, inputs, trains);
    for (std::size_t i = 0; i < found.size(); ++i)
      if (found[i].defined()) CHECK(distance(found[i], expected[i]) < 2e-6);
  }
  require_twins([&](const Tensors& t) { return k::linear_cross_entropy(t[0], coded, labels); }, {inputs[0]}, {true},
                1e-5);
}
