#include "lowrank/kernels/differentiable.h"

#include <utility>

#include "lowrank/kernels/differentiable_group.h"

namespace lowrank::kernels {

at::Tensor differentiable(const std::vector<at::Tensor>& inputs, const std::function<ForwardPass()>& forward) {
  const auto one = [&forward] {
    ForwardPass pass = forward();
    return GroupForwardPass{{std::move(pass.output)},
                            std::move(pass.saved),
                            [backward = std::move(pass.backward)](const GroupBackwardPass& group) {
                              return backward({group.gradients.front(), group.saved, group.needs});
                            },
                            std::move(pass.again)};
  };
  return differentiable_group(inputs, one).front();
}

at::Tensor differentiable_again(const std::vector<at::Tensor>& inputs,
                                std::function<at::Tensor(const std::vector<at::Tensor>&)> forward,
                                std::function<std::vector<at::Tensor>(const BackwardPass&)> backward) {
  return differentiable(inputs, [&]() -> ForwardPass {
    at::Tensor output = forward(inputs);
    return {std::move(output), inputs, std::move(backward), std::move(forward)};
  });
}

}  // namespace lowrank::kernels
