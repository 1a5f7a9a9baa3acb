#include "lowrank/kernels/experts_own.h"

#include "lowrank/kernels/gemm/product.h"

namespace lowrank::kernels {

using gemm::Right;

void own_expert_forward(const at::Tensor& y, const at::Tensor& x, const std::vector<BaseWeight>& parts,
                        const at::Tensor& bias, std::span<const ExpertFactors> adapters) {
  std::vector<gemm::Side> sides;
  std::int64_t inner = x.size(1);
  for (const ExpertFactors& lora : adapters) {
    sides.push_back({lora.a.t(), lora.side, 0, inner});
    inner += lora.a.size(0);
  }
  std::vector<gemm::Target> targets;
  std::int64_t column = 0;
  for (const BaseWeight& part : parts) {
    const std::int64_t n = part.out_features();
    gemm::Target& target = targets.emplace_back(gemm::Target{y.narrow(1, column, n), {{0, Right::of_transposed(part)}}});
    if (bias.defined()) target.bias = bias.narrow(0, column, n);
    for (std::size_t i = 0; i < adapters.size(); ++i) {
      const ExpertFactors& lora = adapters[i];
      target.terms.push_back({sides[i].at, Right::of_matrix(lora.b.narrow(0, column, n).t(), lora.scale)});
    }
    column += n;
  }
  gemm::multiply(x.size(0), inner, {{x}}, sides, targets);
}

void own_expert_backward(const at::Tensor& dx, const at::Tensor& g, const std::vector<BaseWeight>& parts,
                         std::span<const ExpertFactors> adapters) {
  gemm::Target target{dx, {}};
  std::int64_t inner = 0;
  for (const BaseWeight& part : parts) {
    target.terms.push_back({inner, Right::of(part)});
    inner += part.out_features();
  }
  std::vector<gemm::Side> sides;
  for (const ExpertFactors& lora : adapters) {
    sides.push_back({lora.b, lora.side, 0, inner});
    target.terms.push_back({inner, Right::of_matrix(lora.a, lora.scale)});
    inner += lora.a.size(0);
  }
  if (!dx.defined() && adapters.empty()) return;
  gemm::multiply(g.size(0), inner, {{g}}, sides, dx.defined() ? std::vector{target} : std::vector<gemm::Target>{});
}

}  // namespace lowrank::kernels
