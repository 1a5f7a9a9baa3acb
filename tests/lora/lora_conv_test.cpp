#include "lowrank/lora/lora_conv.h"

#include <ATen/Parallel.h>
#include <torch/optim/adam.h>

#include <array>
#include <sstream>

#include "fixture.h"
#include "lowrank/formats/safetensors_torch.h"

using namespace lora_test;
using lora::LoraConv1d;
using lora::LoraConv2d;
using lora::LoraConvOptions;

namespace {

LoraConvOptions options(std::int64_t r = 4, double alpha = 6) {
  LoraConvOptions o;
  o.r = r;
  o.alpha = alpha;
  o.name = "conv";
  return o;
}

// Random A and B of one scale, so that a wrong order of groups shows.
void randomise(const lora::ConvSlot& slot) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(21);
  at::Tensor(slot->lora().a).normal_(0, 0.3);
  at::Tensor(slot->lora().b).normal_(0, 0.3);
}

// Every kind of convolution; x has 7 x 6 places.
std::vector<torch::nn::Conv2dOptions> kinds() {
  using O = torch::nn::Conv2dOptions;
  const auto c = [](std::initializer_list<std::int64_t> kernel) {
    return O(4, 6, at::IntArrayRef(kernel.begin(), kernel.size()));
  };
  return {c({3, 3}).padding(1),
          c({3, 2}).stride({2, 1}).padding({0, 1}).bias(false),
          c({3, 3}).dilation({2, 1}).padding({2, 1}),
          c({1, 1}).stride(2),
          c({3, 3}).groups(2).padding(1),
          c({1, 1}).groups(2),
          O(4, 8, 3).groups(4).dilation(2).padding(2).bias(false),
          c({3, 3}).padding(2).padding_mode(torch::kReflect),
          c({3, 2}).padding({1, 2}).dilation({1, 2}).padding_mode(torch::kCircular).groups(2),
          c({3, 3}).padding(1).stride(2).padding_mode(torch::kReplicate),
          c({3, 2}).padding(torch::kSame).dilation({1, 3}),
          c({3, 3}).padding(torch::kSame).padding_mode(torch::kReflect),
          c({2, 3}).padding(torch::kValid)};
}

// The network's own convolution with a kernel of no groups in the place of its weight.
at::Tensor with_kernel(const torch::nn::Conv2dOptions& kind, const at::Tensor& kernel, const at::Tensor& bias,
                       const at::Tensor& x) {
  torch::nn::Conv2d twin(kind);
  twin->options.groups(1);
  twin->weight = kernel;
  twin->bias = bias;
  return twin->forward(x);
}

}  // namespace

TEST_CASE("LoraConv equals PEFT's convolutions in output, gradients and merged weight", "[parity]") {
  const auto settings = golden("conv.json");
  const auto file = formats::SafetensorsFile::open(lowrank_test::golden_dir() / "lora" / "conv.safetensors");
  for (const auto& [name, c] : settings.items()) {
    INFO(name);
    const std::string prefix = name + ".";
    const auto tensor = [&](const std::string& key) {
      return formats::tensor_view(file, *file->find(prefix + key)).clone();
    };
    const bool bias = c["bias"].get<bool>();
    const auto ints = [&c = c](const char* key) { return c[key].get<std::vector<std::int64_t>>(); };
    LoraConvOptions o = options(c["r"].get<std::int64_t>(), c["alpha"].get<double>());
    o.rslora = c["rslora"].get<bool>();
    const auto check = [&](auto layer, const auto& base) {
      {
        const torch::NoGradGuard no_grad;
        base->weight.copy_(tensor("weight"));
        if (bias) base->bias.copy_(tensor("bias"));
        at::Tensor(layer->slot()->lora().a).copy_(tensor("a"));
        at::Tensor(layer->slot()->lora().b).copy_(tensor("b"));
      }
      const at::Tensor x = tensor("x").set_requires_grad(true);
      const at::Tensor y = layer->forward(x);
      CHECK(far(y, tensor("y")) < 1e-5);
      y.backward(tensor("upstream"));
      CHECK(far(x.grad(), tensor("dx")) < 1e-5);
      CHECK(far(layer->slot()->lora().a.grad(), tensor("da")) < 1e-5);
      CHECK(far(layer->slot()->lora().b.grad(), tensor("db")) < 1e-5);
      if (c["groups"].template get<int>() == 1)
        CHECK(far(layer->slot()->delta_weight() + base->weight, tensor("merged")) < 1e-6);
    };
    const std::int64_t in = c["channels"], out = c["out"], groups = c["groups"];
    if (c["dims"].get<int>() == 2) {
      const auto kernel = ints("kernel"), stride = ints("stride"), padding = ints("padding");
      torch::nn::Conv2d base(torch::nn::Conv2dOptions(in, out, at::IntArrayRef(kernel))
                                 .stride(at::IntArrayRef(stride))
                                 .padding(at::IntArrayRef(padding))
                                 .groups(groups)
                                 .bias(bias));
      check(LoraConv2d(base, o), base);
    } else {
      torch::nn::Conv1d base(torch::nn::Conv1dOptions(in, out, ints("kernel")[0])
                                 .stride(ints("stride")[0])
                                 .padding(ints("padding")[0])
                                 .groups(groups)
                                 .bias(bias));
      check(LoraConv1d(base, o), base);
    }
  }
}

TEST_CASE("LoraConv2d equals the convolution by W + ΔW for strides, dilations, groups and padding modes", "[unit]") {
  for (const auto& kind : kinds()) {
    torch::manual_seed(2);
    torch::nn::Conv2d base(kind);
    base->to(at::kDouble);
    const at::Tensor x = torch::randn({3, 4, 7, 6}, at::kDouble);
    std::ostringstream text;
    text << *base;
    INFO(text.str());
    LoraConv2d layer(base, options());
    CHECK(far(layer->forward(x), base->forward(x)) < 1e-14);  // begins as the layer it wraps
    randomise(layer->slot());
    const auto& lora = layer->slot()->lora();
    const std::int64_t groups = kind.groups();

    // The oracle of ΔW: one element at a time, from its definition.
    at::Tensor delta = torch::zeros({base->weight.size(0), 4, base->weight.size(2), base->weight.size(3)}, at::kDouble);
    const std::int64_t out = delta.size(0), share = lora.r / groups;
    for (std::int64_t o = 0; o < out; ++o)
      for (std::int64_t j = 0; j < share; ++j)
        delta[o] += 1.5 * lora.b[o][j].reshape({}).detach() * lora.a[o / (out / groups) * share + j].detach();
    CHECK(far(layer->slot()->delta_weight(), delta) < 1e-6);
    CHECK(far(lora::conv_delta(lora, groups), delta) < 1e-14);

    const at::Tensor dense = lora::without_groups(base->weight, groups);
    const at::Tensor x1 = x.clone().set_requires_grad(true), x2 = x.clone().set_requires_grad(true);
    const at::Tensor y = layer->forward(x1);
    const at::Tensor expected = with_kernel(kind, dense + lora::conv_delta(lora, groups), base->bias, x2);
    CHECK(far(y, expected) < 1e-13);
    const at::Tensor upstream = torch::randn_like(y);
    y.backward(upstream);
    const at::Tensor da = lora.a.grad().clone(), db = lora.b.grad().clone();
    at::Tensor(lora.a).mutable_grad().zero_();
    at::Tensor(lora.b).mutable_grad().zero_();
    expected.backward(upstream);
    CHECK(far(x1.grad(), x2.grad()) < 1e-12);
    CHECK(far(da, lora.a.grad()) < 1e-12);
    CHECK(far(db, lora.b.grad()) < 1e-12);

    const torch::NoGradGuard no_grad;
    const at::Tensor bytes = base->weight.clone(), before = layer->forward(x);
    layer->eval();
    layer->merge();
    CHECK(far(layer->forward(x), before) < 1e-6);  // ΔW is summed in fp32
    layer->unmerge();
    CHECK(same_bytes(base->weight, bytes));
    CHECK(same_bytes(layer->forward(x), before));
    layer->set_enabled(false);
    CHECK(far(layer->forward(x), base->forward(x)) < 1e-14);
  }
}

TEST_CASE("LoraConv1d takes a batch or one sample, and every padding mode", "[unit]") {
  for (const auto& kind : {torch::nn::Conv1dOptions(4, 6, 3).padding(2).dilation(2).padding_mode(torch::kCircular),
                           torch::nn::Conv1dOptions(4, 6, 4).padding(torch::kSame),
                           torch::nn::Conv1dOptions(4, 6, 3).groups(2).stride(2)}) {
    torch::manual_seed(2);
    torch::nn::Conv1d base(kind);
    base->to(at::kDouble);
    LoraConv1d layer(base, options());
    const at::Tensor x = torch::randn({2, 4, 9}, at::kDouble);
    CHECK(far(layer->forward(x), base->forward(x)) < 1e-14);
    randomise(layer->slot());
    CHECK(far(layer->forward(x[1]), layer->forward(x)[1]) < 1e-14);
    const auto& shape = layer->slot()->shape();
    kernels::ConvShape dense = shape;
    dense.groups = 1;
    const at::Tensor kernel =
        lora::without_groups(base->weight, shape.groups) + lora::conv_delta(layer->slot()->lora(), shape.groups);
    CHECK(far(layer->forward(x), kernels::composite::convolution(x, kernel, base->bias, dense)) < 1e-13);
  }
}

TEST_CASE("kernels::convolution gives the same gradients for any number of threads", "[unit]") {
  const int threads = at::get_num_threads();
  for (const auto& [in, out, size, k, stride] :
       std::vector<std::array<std::int64_t, 5>>{{32, 4, 16, 3, 1}, {32, 64, 8, 1, 2}, {16, 16, 8, 3, 1}}) {
    torch::manual_seed(4);
    torch::nn::Conv2d base(torch::nn::Conv2dOptions(in, out, k).stride(stride).padding(k / 2));
    const at::Tensor x = torch::randn({21, in, size, size});
    kernels::ConvShape shape{{stride, stride}, {1, 1}, {k / 2, k / 2, k / 2, k / 2}, "constant", 1};
    std::vector<std::vector<at::Tensor>> results;
    for (const int n : {1, 2, 3}) {
      at::set_num_threads(n);
      base->zero_grad();
      const at::Tensor leaf = x.clone().set_requires_grad(true);
      const at::Tensor y = kernels::convolution(leaf, base->weight, base->bias, shape);
      y.backward(torch::sin(torch::arange(y.numel()).reshape(y.sizes())));
      results.push_back({y.detach(), leaf.grad(), base->weight.grad().clone(), base->bias.grad().clone()});
    }
    at::set_num_threads(threads);
    for (std::size_t i = 0; i < results[0].size(); ++i) {
      CHECK(same_bytes(results[0][i], results[1][i]));
      CHECK(same_bytes(results[0][i], results[2][i]));
    }
    base->zero_grad();
    const at::Tensor leaf = x.clone().set_requires_grad(true);
    const at::Tensor y = base->forward(leaf);
    y.backward(torch::sin(torch::arange(y.numel()).reshape(y.sizes())));
    CHECK(far(results[0][0], y) < 1e-6);
    CHECK(far(results[0][1], leaf.grad()) < 1e-5);
    CHECK(far(results[0][2], base->weight.grad()) < 1e-5);
    CHECK(far(results[0][3], base->bias.grad()) < 1e-5);
  }
}

TEST_CASE("LoraConv2d trains lora_A and lora_B alone, and drops its input afresh at every call", "[unit]") {
  torch::manual_seed(8);
  LoraConvOptions o = options();
  o.dropout = 0.5;
  torch::nn::Conv2d base(torch::nn::Conv2dOptions(3, 4, 3).padding(1));
  LoraConv2d layer(base, o), twin(base, o);
  std::vector<std::string> trains;
  for (const auto& item : layer->named_parameters())
    if (item.value().requires_grad()) trains.push_back(item.key());
  CHECK(trains == std::vector<std::string>{"lora_A.weight", "lora_B.weight"});
  CHECK(layer->slot()->lora().a.abs().max().item<double>() <= 1 / std::sqrt(27.0));
  randomise(layer->slot());
  randomise(twin->slot());
  const at::Tensor x = torch::randn({2, 3, 5, 5});
  const at::Tensor one = layer->forward(x), two = layer->forward(x);
  CHECK_FALSE(at::allclose(one, two));
  CHECK(same_bytes(one.detach(), twin->forward(x).detach()));
  CHECK(same_bytes(two.detach(), twin->forward(x).detach()));

  torch::optim::Adam optimizer(layer->parameters(), torch::optim::AdamOptions(1e-2));
  const at::Tensor y = torch::randn({2, 4, 5, 5});
  double first = 0, loss = 0;
  for (int step = 0; step < 60; ++step) {
    optimizer.zero_grad();
    const at::Tensor l = torch::mse_loss(layer->forward(x), y);
    l.backward();
    optimizer.step();
    loss = l.item<double>();
    if (step == 0) first = loss;
  }
  CHECK(loss < 0.9 * first);
  CHECK_FALSE(base->weight.grad().defined());

  layer->merge();
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { layer->forward(x); }), "unmerge()"));
  layer->eval();
  CHECK_NOTHROW(layer->forward(x));
  std::ostringstream text;
  text << *layer;
  CHECK(contains(text.str(), "LoraConv2d(in_channels=3, out_channels=4, groups=1, r=4, scale=1.5"));
}

TEST_CASE("LoraConv refuses what cannot be, in a sentence", "[unit]") {
  torch::nn::Conv2d grouped(torch::nn::Conv2dOptions(4, 4, 3).groups(2));
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { LoraConv2d(grouped, options(3)); }), "multiple of 2"));
  LoraConv2d layer(torch::nn::Conv2d(torch::nn::Conv2dOptions(4, 4, 3)), options());
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { layer->forward(torch::zeros({1, 3, 5, 5})); }), "4 channels"));
  CHECK_THROWS_AS(LoraConv2d(torch::nn::Conv2d(torch::nn::Conv2dOptions(4, 4, 3)), options(0)), ConfigError);
}
