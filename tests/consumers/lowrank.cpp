// A program of someone else's: a LoraLinear in a module of its own, and a tokenizer error that is an exception.
#include <ATen/ops/ones.h>

#include <cstdio>

#include "lowrank/lowrank.h"

int main() {
  torch::nn::Linear linear(4, 3);
  lowrank::lora::LoraLinear wrapped(linear, lowrank::lora::LoraLinearOptions{.r = 2, .alpha = 4});
  const at::Tensor y = wrapped->forward(at::ones({2, 4}));
  try {
    lowrank::models::resolve("/nowhere/at/all");
  } catch (const lowrank::MissingError& error) {
    std::printf("consumer: %lld x %lld; %s\n", static_cast<long long>(y.size(0)), static_cast<long long>(y.size(1)),
                error.what());
    return 0;
  }
  return 1;
}
