#include <array>
#include <utility>

#include "lowrank/kernels/activation.h"

namespace lowrank::kernels {

std::optional<Activation> find_activation(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, Activation>, 14> kNames = {{
      {"silu", Activation::kSilu},
      {"swish", Activation::kSilu},
      {"gelu", Activation::kGelu},
      {"gelu_python", Activation::kGelu},
      {"gelu_new", Activation::kGeluTanh},
      {"gelu_fast", Activation::kGeluTanh},
      {"gelu_accurate", Activation::kGeluTanh},
      {"gelu_pytorch_tanh", Activation::kGeluTanh},
      {"gelu_python_tanh", Activation::kGeluTanh},
      {"quick_gelu", Activation::kQuickGelu},
      {"relu", Activation::kRelu},
      {"relu2", Activation::kRelu2},
      {"sigmoid", Activation::kSigmoid},
      {"tanh", Activation::kTanh},
  }};
  for (const auto& [known, activation] : kNames) {
    if (known == name) return activation;
  }
  return std::nullopt;
}

}  // namespace lowrank::kernels
