#include "lowrank/models/blocks/routed_experts.h"

#include <memory>
#include <string>
#include <vector>

#include "lowrank/kernels/experts.h"

namespace lowrank::models {

RoutedExperts::RoutedExperts(const ExpertsMlpSpec& spec, std::int64_t width, const Scope& scope)
    : spec_(spec), model_width_(width) {
  const auto& p = spec.parts;
  const bool apart = !p.empty();
  gate_up_ = scope.experts("experts", {"gate_up_proj", apart ? std::vector{p[0], p[1]} : std::vector<std::string>{},
                                       spec.experts, width, 2 * spec.width, spec.bias, spec.transposed});
  down_ = scope.experts("experts", {"down_proj", apart ? std::vector{p[2]} : std::vector<std::string>{}, spec.experts,
                                    spec.width, width, spec.bias, spec.transposed});
}

at::Tensor RoutedExperts::forward(const at::Tensor& x, const kernels::Routed& routed) const {
  const auto rows = std::make_shared<const kernels::ExpertRows>(kernels::sort_by_expert(routed.experts, spec_.experts));
  const at::Tensor inner = activated(gate_up_->forward(x, rows, /*by_token=*/true));
  return kernels::combine_experts(down_->forward(inner, rows, /*by_token=*/false), routed.weights, rows);
}

std::int64_t RoutedExperts::kept_per_token() const {
  // Of a row: gate, up and output, what adapters keep, and which row it is (three int64 and a weight).
  const std::int64_t row = 2 * spec_.width + model_width_ + gate_up_->kept_per_row() + down_->kept_per_row() + 7;
  return spec_.per_token * row + 2 * spec_.experts;
}

at::Tensor RoutedExperts::activated(const at::Tensor& x) const {
  if (spec_.interleaved) return kernels::clamped_swiglu(x, spec_.alpha, spec_.limit);
  const auto parts = x.split_with_sizes({spec_.width, spec_.width}, 1);
  return kernels::gated(parts[0], parts[1], spec_.activation);
}

}  // namespace lowrank::models
