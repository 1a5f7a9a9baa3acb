// Outputs that nothing keeps for a backward pass: norms, gates, rotations of norms, convolutions.
#include <thread>

#include "lowrank/kernels/activation.h"
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/experts.h"
#include "lowrank/kernels/linear_attention.h"
#include "lowrank/kernels/lora_group.h"
#include "lowrank/kernels/norms.h"
#include "lowrank/kernels/ops.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;

namespace {

constexpr std::int64_t kRows = 37, kWidth = 24;

// Something that is made again of x [37, 24], and whatever parameter it trains.
struct Maker {
  const char* name;
  std::function<at::Tensor(const at::Tensor& x, const at::Tensor& parameter)> make;
};

const std::vector<Maker> makers = {
    {"rms_norm", [](const at::Tensor& x, const at::Tensor& w) { return k::rms_norm(x, w, 1e-5); }},
    {"wide_rms_norm", [](const at::Tensor& x, const at::Tensor& w) { return k::wide_rms_norm(x, w, 1e-5); }},
    {"layer_norm", [](const at::Tensor& x, const at::Tensor& w) { return k::layer_norm(x, {}, w, 1e-5); }},
    {"gated_rms_norm",
     [](const at::Tensor& x, const at::Tensor& w) {
       return k::gated_rms_norm(x.view({-1, 2, 12}), w.narrow(0, 0, 12), x.sin(), 1e-5);
     }},
    {"swiglu", [](const at::Tensor& x, const at::Tensor& w) { return k::swiglu(x, x * w); }},
    {"gated", [](const at::Tensor& x, const at::Tensor& w) { return k::gated(x, x * w, k::Activation::kGelu); }},
    {"activate", [](const at::Tensor& x, const at::Tensor& w) { return k::activate(x * w, k::Activation::kRelu2); }},
    {"clamped_swiglu",
     [](const at::Tensor& x, const at::Tensor& w) { return k::clamped_swiglu(at::cat({x, x * w}, 1), 1.7, 2); }},
    {"causal_convolution",
     [](const at::Tensor& x, const at::Tensor& w) {
       return k::causal_convolution(x, at::stack({w, w.sin()}, 1), w, k::Segments::of_lengths({5, 32}), true);
     }},
};

// x through the maker, into three adapted layers (with dropout: they do not join) and a gate beside them.
struct Network {
  at::Tensor weight = random({kWidth, kWidth}, at::kFloat, 0.2), parameter = random({kWidth}).requires_grad_();
  std::vector<at::Tensor> a, b;
  std::vector<std::int64_t> tokens;
  bool drops = false;

  Network() {
    for (int i = 0; i < 3; ++i) {
      a.push_back(random({3, kWidth}).requires_grad_());
      b.push_back(random({kWidth, 3}).requires_grad_());
    }
    for (std::int64_t i = 0; i < kRows; ++i) tokens.push_back(i);
  }

  // Where it `keeps`, nothing is made again: a copy stands between.
  at::Tensor forward(const Maker& maker, const at::Tensor& x, bool keeps,
                     c10::weak_intrusive_ptr<c10::StorageImpl>* storage = nullptr) const {
    at::Tensor h = maker.make(x, parameter);
    if (storage != nullptr) *storage = h.storage().getWeakStorageImpl();
    if (keeps) h = h.clone();
    std::vector<k::LoraOperand> operands(3);
    std::vector<k::LoraLayer> layers;
    for (std::size_t i = 0; i < 3; ++i) {
      operands[i].a = a[i], operands[i].b = b[i];
      if (drops) operands[i].dropout = 0.3, operands[i].dropout_key = {9, static_cast<std::uint32_t>(i)};
      layers.push_back({k::BaseWeight::dense(weight), {operands[i]}});
    }
    k::DropoutContext context;
    context.token_in_step = tokens.data();
    const std::vector<at::Tensor> y = k::lora_linears(h, layers, &context);
    return k::swiglu(y[0], y[1]) + y[2];
  }
  Tensors gradients(const Maker& maker, const at::Tensor& x, bool keeps) {
    const at::Tensor leaf = x.detach().clone().requires_grad_();
    const at::Tensor y = forward(maker, leaf, keeps);
    y.square().sum().backward();
    return taken(y, leaf);
  }
  Tensors taken(const at::Tensor& y, const at::Tensor& leaf) {
    Tensors all = {y.detach(), leaf.grad()};
    for (at::Tensor* p : parameters()) {
      all.push_back(p->grad().clone());
      p->mutable_grad() = at::Tensor();
    }
    return all;
  }
  std::vector<at::Tensor*> parameters() { return {&parameter, &a[0], &a[1], &a[2], &b[0], &b[1], &b[2]}; }
};

void require_same(const Tensors& found, const Tensors& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    INFO("tensor " << i);
    CHECK(equal_bytes(found[i], expected[i]));
  }
}

}  // namespace

TEST_CASE("what costs little is not kept for a backward pass, which has the same bytes", "[unit]") {
  torch::manual_seed(23);
  Network network;
  const at::Tensor x = random({kRows, kWidth});
  for (const bool drops : {false, true}) {
    network.drops = drops;
    for (const Maker& maker : makers) {
      INFO(maker.name << (drops ? ", dropout" : ""));
      require_same(network.gradients(maker, x, false), network.gradients(maker, x, true));

      c10::weak_intrusive_ptr<c10::StorageImpl> storage(c10::intrusive_ptr<c10::StorageImpl>{});
      const at::Tensor leaf = x.clone().requires_grad_();
      const at::Tensor y = network.forward(maker, leaf, false, &storage);
      CHECK(storage.expired());
      // Once more through the same graph, and in a thread of its own.
      y.square().sum().backward({}, /*retain_graph=*/true);
      const Tensors once = network.taken(y, leaf);
      leaf.mutable_grad() = at::Tensor();
      std::thread([&] { y.square().sum().backward(); }).join();
      require_same(network.taken(y, leaf), once);
    }
  }
}

TEST_CASE("what is kept elsewhere is not made again, and a rotation is where what it turns is", "[unit]") {
  torch::manual_seed(24);
  const at::Tensor x = random({kRows, 2, 12}), w = random({12}), angles = random({kRows, 6});
  const k::RotaryTables tables{angles.cos(), angles.sin(), false};
  const auto attended = [&](const at::Tensor& q, const at::Tensor& v) {
    return k::attention(q, q, v, k::Segments::of_lengths({30, 7}), {.scale = 0.3});
  };
  const at::Tensor leaf = x.clone().requires_grad_(), other = x.clone().requires_grad_();
  const auto turned = [&](const at::Tensor& from, bool keeps) {
    const at::Tensor normed = k::rms_norm(from, w, 1e-5);
    return k::rotary(keeps ? normed.clone() : normed, tables);
  };
  c10::weak_intrusive_ptr<c10::StorageImpl> storage(c10::intrusive_ptr<c10::StorageImpl>{});
  at::Tensor y;
  {
    const at::Tensor q = turned(leaf, false);
    CHECK(k::made_again(q));
    CHECK_FALSE(k::made_again(turned(leaf, true)));
    CHECK_FALSE(k::made_again(k::rotary(leaf, tables)));
    storage = q.storage().getWeakStorageImpl();
    y = attended(q, leaf);
  }
  CHECK(storage.expired());
  attended(turned(other, true), other).square().sum().backward();
  y.square().sum().backward();
  CHECK(equal_bytes(leaf.grad(), other.grad()));

  // How often an operation runs: with its output alive, once; else once for both that read it.
  int runs = 0;
  const auto counted = [&](const at::Tensor& in) {
    const auto twice = [&runs](const at::Tensor& t) {
      ++runs;
      return t * 2;
    };
    return k::differentiable({in}, [&]() -> k::ForwardPass {
      return {twice(in),
              {in},
              [](const k::BackwardPass& pass) { return std::vector<at::Tensor>{pass.gradient * 2}; },
              [twice](const std::vector<at::Tensor>& saved) { return twice(saved[0]); }};
    });
  };
  at::Tensor alive = counted(leaf);
  const auto readers = [&] { return k::swiglu(alive, leaf) + k::activate(alive, k::Activation::kTanh); };
  y = readers();
  y.sum().backward({}, /*retain_graph=*/true);
  CHECK(runs == 1);
  alive = at::Tensor();
  y.sum().backward();
  CHECK(runs == 2);
}
