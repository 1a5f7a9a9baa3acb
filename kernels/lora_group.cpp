#include "lowrank/kernels/lora_group.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <memory>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/differentiable_group.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/gemm.h"
#include "lowrank/kernels/gemm/product.h"
#include "lowrank/kernels/profile.h"

namespace lowrank::kernels {

namespace {

// The layers, and the place of each adapter's steps: those of x (or of all gradients) come first, then every rank.
struct Group {
  std::vector<LoraLayer> layers;
  std::int64_t in = 0, out = 0, ranks = 0;  // sums over layers, but for in
  std::vector<double> scales;               // of every adapter

  explicit Group(std::span<const LoraLayer> all) : layers(all.begin(), all.end()) {
    in = layers.front().base.in_features();
    for (const LoraLayer& layer : layers) {
      out += layer.base.out_features();
      for (const LoraOperand& lora : layer.adapters) {
        ranks += lora.a.size(0);
        scales.push_back(lora.scale);
      }
    }
  }
  // f(layer, adapter's place among all, first of its steps among all ranks).
  template <typename F>
  void for_adapters(const F& f) const {
    std::size_t index = 0;
    std::int64_t at = 0;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      for (const LoraOperand& lora : layers[l].adapters) {
        f(l, index++, at);
        at += lora.a.size(0);
      }
    }
  }
  double flops(std::int64_t rows) const {
    return 2.0 * static_cast<double>(rows) * static_cast<double>(in * out + ranks * in + rank_outputs());
  }
  double gradient_flops(std::int64_t rows) const {
    return 2.0 * static_cast<double>(rows) * static_cast<double>(ranks * in + rank_outputs());
  }
  double bytes(const at::Tensor& x) const {
    double weights = 0;
    for (const LoraLayer& layer : layers) {
      weights += static_cast<double>(in * layer.base.out_features()) *
                 static_cast<double>(c10::elementSize(layer.base.dtype()));
    }
    return weights + static_cast<double>(x.size(0) * (in + out)) * static_cast<double>(x.element_size());
  }

 private:
  std::int64_t rank_outputs() const {
    std::int64_t sum = 0;
    for (const LoraLayer& layer : layers)
      for (const LoraOperand& lora : layer.adapters) sum += lora.b.numel();
    return sum;
  }
};

bool joins(const at::Tensor& x, std::span<const LoraLayer> layers, const DropoutContext* dropout) {
  if (layers.size() < 2 || !use_fused(x) || x.dim() != 2) return false;
  if (!gemm::takes(product_dtype(x.scalar_type()), x.size(0))) return false;
  return std::all_of(layers.begin(), layers.end(), [&](const LoraLayer& layer) {
    if (layer.base.in_features() != x.size(1) || layer.base.trains()) return false;
    if (layer.base.bias().defined() && layer.base.bias().requires_grad()) return false;
    return std::all_of(layer.adapters.begin(), layer.adapters.end(), [&](const LoraOperand& lora) {
      return !lora.magnitude.defined() && (dropout == nullptr || lora.dropout == 0);
    });
  });
}

at::Tensor matrix(const at::Tensor& m) { return m.detach().to(at::kFloat); }

struct GroupForward {
  std::vector<at::Tensor> outputs;
  at::Tensor t;  // [M, ranks]: x Aᵀ of every adapter
};

// Adapters' matrices: A₁, B₁, A₂, …
GroupForward forward_pass(const at::Tensor& x, const Group& group, const at::Tensor* matrices) {
  const ProfileScope profiled("linear", group.flops(x.size(0)), group.bytes(x));
  GroupForward result;
  std::vector<gemm::Target> targets;
  for (const LoraLayer& layer : group.layers) {
    result.outputs.push_back(aten::empty({x.size(0), layer.base.out_features()}, x.options()));
    gemm::Target& target = targets.emplace_back(
        gemm::Target{result.outputs.back(), {{0, gemm::Right::of_transposed(layer.base)}}});
    if (layer.base.bias().defined()) target.bias = layer.base.bias().detach().to(at::kFloat).contiguous();
  }
  result.t = aten::empty({x.size(0), group.ranks}, x.options().dtype(at::kFloat));
  std::vector<gemm::Side> sides;
  group.for_adapters([&](std::size_t l, std::size_t i, std::int64_t at) {
    const at::Tensor a = matrix(matrices[2 * i]), b = matrix(matrices[2 * i + 1]);
    sides.push_back({a.t(), result.t.narrow(1, at, a.size(0)), 0, group.in + at});
    targets[l].terms.push_back({group.in + at, gemm::Right::of_matrix(b.t(), group.scales[i])});
  });
  gemm::multiply(x.size(0), group.in + group.ranks, {{x}}, sides, targets);
  return result;
}

// Gradients of x, A₁, B₁, … Saved are those inputs (x where it is needed), then t.
std::vector<at::Tensor> backward_pass(const GroupBackwardPass& pass, const Group& group) {
  std::vector<at::Tensor> gradients = pass.gradients;
  const auto defined = std::find_if(gradients.begin(), gradients.end(), [](const at::Tensor& g) { return g.defined(); });
  const std::int64_t rows = defined->size(0);
  const bool trains = pass.saved[0].defined();
  const ProfileScope profiled("linear backward",
                              (pass.needs(0) ? group.flops(rows) : 0) + (trains ? group.gradient_flops(rows) : 0),
                              group.bytes(*defined));
  std::vector<gemm::LeftPart> parts;
  gemm::Target target;
  if (pass.needs(0)) target.out = aten::empty({rows, group.in}, defined->options());
  std::vector<std::int64_t> offsets;
  std::int64_t offset = 0;
  for (std::size_t l = 0; l < group.layers.size(); ++l) {
    const BaseWeight& base = group.layers[l].base;
    at::Tensor& g = gradients[l];
    if (!g.defined()) g = aten::zeros({rows, base.out_features()}, defined->options());
    if (g.stride(1) != 1 || g.stride(0) < g.size(1)) g = g.contiguous();
    offsets.push_back(offset);
    parts.push_back({g, offset});
    target.terms.push_back({offset, gemm::Right::of(base)});
    offset += base.out_features();
  }
  const at::Tensor u = aten::empty({rows, group.ranks}, defined->options().dtype(at::kFloat));
  std::vector<gemm::Side> sides;
  group.for_adapters([&](std::size_t l, std::size_t i, std::int64_t at) {
    const at::Tensor a = matrix(pass.saved[1 + 2 * i]), b = matrix(pass.saved[2 + 2 * i]);
    sides.push_back({b, u.narrow(1, at, a.size(0)), offsets[l], offset + at});
    target.terms.push_back({offset + at, gemm::Right::of_matrix(a, group.scales[i])});
  });
  std::vector<gemm::Target> targets;
  if (pass.needs(0)) targets.push_back(target);
  gemm::multiply(rows, offset + group.ranks, parts, sides, targets);

  std::vector<at::Tensor> result(1 + 2 * group.scales.size());
  result[0] = target.out;
  if (!trains) return result;
  const at::Tensor& x = pass.saved[0];
  const at::Tensor& t = pass.saved.back();
  const at::Tensor da = aten::empty({group.ranks, group.in}, u.options());
  gemm::multiply_outer(da, u, x, 1, /*transposed=*/false);
  group.for_adapters([&](std::size_t l, std::size_t i, std::int64_t at) {
    const double scale = group.scales[i];
    const at::Tensor &a = pass.saved[1 + 2 * i], &b = pass.saved[2 + 2 * i];
    if (pass.needs(1 + 2 * i)) result[1 + 2 * i] = da.narrow(0, at, a.size(0)).mul_(scale).to(a.scalar_type());
    if (!pass.needs(2 + 2 * i)) return;
    const at::Tensor db = aten::empty({b.size(0), b.size(1)}, u.options());
    gemm::multiply_outer(db, t.narrow(1, at, b.size(1)), gradients[l], scale, /*transposed=*/true);
    result[2 + 2 * i] = db.to(b.scalar_type());
  });
  return result;
}

}  // namespace

std::vector<at::Tensor> lora_linears(const at::Tensor& x, std::span<const LoraLayer> layers,
                                     const DropoutContext* dropout) {
  if (!joins(x, layers, dropout)) {
    std::vector<at::Tensor> outputs;
    for (const LoraLayer& layer : layers) outputs.push_back(lora_linear(x, layer.base, layer.adapters, dropout));
    return outputs;
  }
  auto group = std::make_shared<Group>(layers);
  std::vector<at::Tensor> inputs{x};
  for (const LoraLayer& layer : layers) {
    for (const LoraOperand& lora : layer.adapters) {
      inputs.push_back(lora.a);
      inputs.push_back(lora.b);
    }
  }
  // The graph holds the matrices among its inputs; held here too they could keep it alive.
  for (LoraLayer& layer : group->layers) {
    for (LoraOperand& lora : layer.adapters) lora.a = lora.a.detach(), lora.b = lora.b.detach();
  }
  const auto wanted = [](const at::Tensor& input) { return input.requires_grad(); };
  if (!at::GradMode::is_enabled() || std::none_of(inputs.begin(), inputs.end(), wanted)) {
    const at::NoGradGuard no_grad;
    return forward_pass(x, *group, inputs.data() + 1).outputs;
  }
  return differentiable_group(inputs, [&]() -> GroupForwardPass {
    GroupForward forward = forward_pass(x, *group, inputs.data() + 1);
    const bool trains = std::any_of(inputs.begin() + 1, inputs.end(), wanted);
    GroupForwardPass pass{forward.outputs, inputs, {}};
    if (!trains) pass.saved[0] = at::Tensor();
    pass.saved.push_back(trains ? forward.t : at::Tensor());
    pass.backward = [group](const GroupBackwardPass& back) { return backward_pass(back, *group); };
    return pass;
  });
}

}  // namespace lowrank::kernels
