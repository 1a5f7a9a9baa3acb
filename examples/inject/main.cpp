// Adapters in a network of your own, without a change to its class: a CNN that tells stripes apart learns them
// inverted.
//   lowrank-inject OUT
#include <torch/nn/functional/loss.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/optim/adamw.h>

#include <cstdio>
#include <exception>

#include "lowrank/lora/inject.h"

namespace {

struct Net : torch::nn::Module {
  at::Tensor forward(const at::Tensor& x) {
    at::Tensor h = torch::max_pool2d(torch::relu(conv->forward(x)), 2);
    return head->forward(torch::relu(depth->forward(h)).mean({2, 3}));
  }
  torch::nn::Conv2d conv = register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 16, 3).padding(1)));
  torch::nn::Conv2d depth = register_module("depth", torch::nn::Conv2d(torch::nn::Conv2dOptions(16, 16, 3).padding(1)));
  torch::nn::Linear head = register_module("head", torch::nn::Linear(16, 3));
};

/// 96 pictures of 12 × 12: thin bright stripes, horizontal, vertical or slanting, at random places, with noise.
std::pair<at::Tensor, at::Tensor> stripes(bool inverted) {
  const at::Tensor y = torch::randint(3, {96}), place = torch::randint(4, {96, 1, 1, 1});
  const at::Tensor row = torch::arange(12).view({1, 1, 12, 1}), column = row.transpose(2, 3);
  const at::Tensor kind = y.view({96, 1, 1, 1});
  const at::Tensor at = torch::where(kind == 0, row, torch::where(kind == 1, column, row + column)) + place;
  const at::Tensor x = at.remainder(4).lt(1).to(torch::kFloat) + 0.3 * torch::randn({96, 1, 12, 12});
  return {inverted ? 1 - x : x, y};
}

double accuracy(Net& net, bool inverted) {
  const torch::NoGradGuard no_grad;
  const auto [x, y] = stripes(inverted);
  return (net.forward(x).argmax(1) == y).to(torch::kFloat).mean().item<double>();
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) return std::fprintf(stderr, "usage: lowrank-inject OUT\n"), 2;
  torch::manual_seed(1);
  Net net;
  torch::optim::AdamW whole(net.parameters(), torch::optim::AdamWOptions(1e-2));
  for (int step = 0; step < 100; ++step) {
    const auto [x, y] = stripes(false);
    whole.zero_grad();
    torch::nn::functional::cross_entropy(net.forward(x), y).backward();
    whole.step();
  }

  lowrank::lora::LoraConfig config;
  config.r = 4;
  config.lora_alpha = 8;
  config.target_modules = std::vector<std::string>{"conv", "depth"};
  config.modules_to_save = {"head"};
  const double before = accuracy(net, true), old = accuracy(net, false);
  auto adapter = lowrank::lora::inject(net, config, /*seed=*/42);

  torch::optim::AdamW optimizer(adapter.parameters(), torch::optim::AdamWOptions(1e-2));
  for (int step = 0; step < 100; ++step) {
    const auto [x, y] = stripes(true);
    optimizer.zero_grad();
    adapter.compose();
    torch::nn::functional::cross_entropy(net.forward(x), y).backward();
    optimizer.step();
  }
  adapter.compose();
  const double after = accuracy(net, true);
  lowrank::lora::save_injected(adapter, argv[1]);  // adapter_config.json, adapter_model.safetensors
  adapter.detach();                                // the exact bytes of before; or merge_and_detach()
  std::printf("inverted stripes: %.2f before, %.2f with the adapter; upright ones: %.2f before, %.2f without it\n",
              before, after, old, accuracy(net, false));
  return after > 0.8 && after > before ? 0 : 1;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "lowrank-inject: %s\n", error.what()), 1;
}
