#include "lowrank/lora/lora_linear.h"

#include <torch/optim/adam.h>

#include <sstream>

#include "fixture.h"

using namespace lora_test;
using lora::LoraLinear;
using lora::LoraLinearOptions;

namespace {

// What a user would write.
struct NetImpl : torch::nn::Module {
  explicit NetImpl(double dropout = 0) {
    const auto options = [&](const char* name) {
      LoraLinearOptions o;
      o.r = 4;
      o.dropout = dropout;
      o.name = name;
      return o;
    };
    torch::manual_seed(4);
    first = register_module("first", LoraLinear(torch::nn::Linear(8, 16), options("first")));
    second = register_module("second", LoraLinear(torch::nn::Linear(16, 2), options("second")));
  }
  at::Tensor forward(const at::Tensor& x) { return second->forward(torch::tanh(first->forward(x))); }
  LoraLinear first{nullptr}, second{nullptr};
};
TORCH_MODULE(Net);

}  // namespace

TEST_CASE("LoraLinear trains inside a user's module, and only lora_A and lora_B do", "[unit]") {
  Net net;
  std::vector<at::Tensor> trainable;
  std::vector<std::string> frozen;
  for (const auto& item : net->named_parameters()) {
    if (item.value().requires_grad()) {
      CHECK(item.key().find("lora_") != std::string::npos);
      trainable.push_back(item.value());
    } else {
      frozen.push_back(item.key());
    }
  }
  CHECK(trainable.size() == 4);
  CHECK(frozen == std::vector<std::string>{"first.base_layer.weight", "first.base_layer.bias",
                                           "second.base_layer.weight", "second.base_layer.bias"});
  torch::optim::Adam optimizer(trainable, torch::optim::AdamOptions(1e-2));
  torch::manual_seed(5);
  const at::Tensor x = torch::randn({4, 6, 8});
  const at::Tensor y = torch::stack({x.sum(-1), x.select(-1, 0)}, -1);
  double first_loss = 0, loss = 0;
  for (int step = 0; step < 100; ++step) {
    optimizer.zero_grad();
    const at::Tensor l = torch::mse_loss(net->forward(x), y);
    l.backward();
    optimizer.step();
    loss = l.item<double>();
    if (step == 0) first_loss = loss;
  }
  CHECK(loss < 0.5 * first_loss);
}

TEST_CASE("LoraLinear begins as the layer it wraps, for any leading shape", "[unit]") {
  torch::nn::Linear base(8, 3);
  const at::Tensor x = torch::randn({2, 5, 8});
  const at::Tensor expected = base->forward(x).detach();
  LoraLinear layer(base, LoraLinearOptions{});
  CHECK(at::allclose(layer->forward(x), expected, 1e-5, 1e-6));
  CHECK(layer->forward(x[0][0]).sizes() == at::IntArrayRef{3});
  CHECK(layer->forward(torch::zeros({0, 8})).sizes() == at::IntArrayRef({0, 3}));
  CHECK(weight_of(layer->slot()).const_data_ptr() == base->weight.const_data_ptr());
  CHECK_FALSE(base->weight.requires_grad());
  CHECK_THROWS_AS(layer->forward(torch::zeros({2, 7})), ConfigError);
  LoraLinearOptions bad;
  bad.r = 0;
  CHECK_THROWS_AS(LoraLinear(torch::nn::Linear(8, 3), bad), ConfigError);
  std::ostringstream text;
  text << *layer;
  CHECK(contains(text.str(), "LoraLinear(in_features=8, out_features=3, r=8, scale=1"));
}

TEST_CASE("LoraLinear merges for use and gives the exact bytes back", "[unit]") {
  LoraLinear layer(torch::nn::Linear(8, 3), LoraLinearOptions{});
  const torch::NoGradGuard no_grad;
  at::Tensor(layer->slot()->lora().b).normal_(0, 0.5);
  const at::Tensor x = torch::randn({4, 8});
  const at::Tensor before = layer->forward(x), weight = weight_of(layer->slot()).clone();
  layer->merge();
  CHECK(at::allclose(layer->forward(x), before, 1e-4, 1e-5));
  {
    const at::AutoGradMode with_grad(true);
    CHECK(contains(message_of(ErrorKind::kConfig, [&] { layer->forward(x); }), "unmerge()"));
    layer->eval();
    CHECK_NOTHROW(layer->forward(x));
  }
  layer->unmerge();
  CHECK(same_bytes(weight_of(layer->slot()), weight));
  CHECK(same_bytes(layer->forward(x), before));
}

TEST_CASE("LoraLinear's dropout is drawn afresh at every call in train mode", "[unit]") {
  Net net(0.5), twin(0.5);
  for (const auto& n : {net, twin})
    for (const auto& layer : {n->first, n->second}) {
      const torch::NoGradGuard no_grad;
      torch::manual_seed(6);
      at::Tensor(layer->slot()->lora().b).normal_(0, 0.5);
    }
  const at::Tensor x = torch::randn({3, 8});
  const at::Tensor one = net->forward(x), two = net->forward(x);
  CHECK_FALSE(at::allclose(one, two));
  CHECK(same_bytes(one.detach(), twin->forward(x).detach()));
  CHECK(same_bytes(two.detach(), twin->forward(x).detach()));
  net->eval();
  CHECK(same_bytes(net->forward(x).detach(), net->forward(x).detach()));
}
