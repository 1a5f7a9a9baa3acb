#include "lowrank/kernels/lora_linear.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <tuple>

#include "lowrank/core/error.h"
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/gemm.h"
#include "lowrank/kernels/lora_linear_impl.h"
#include "lowrank/kernels/profile.h"

namespace lowrank::kernels {

namespace {

// What the graph holds besides tensors. Tokens are copied: the caller's context lives for the forward pass only.
struct Settings {
  struct Adapter {
    double scale;
    DropoutPlace dropout;
    std::size_t magnitude;  // its place among the inputs; 0: plain LoRA
    at::Tensor norms;
  };
  BaseWeight base;
  bool trains_base = false;
  std::vector<Adapter> adapters;
  std::vector<std::int64_t> tokens;

  // Places among the inputs: x, [W], [bias], A₁, B₁, A₂, …, DoRA's magnitudes.
  bool has_bias() const { return base.bias().defined(); }
  std::size_t bias() const { return trains_base ? 2 : 1; }
  std::size_t matrices() const { return bias() + (has_bias() ? 1 : 0); }
};

// From the function's inputs.
std::vector<LoraFactors> factors(const Settings& settings, const at::Tensor* inputs, at::ScalarType dtype) {
  std::vector<LoraFactors> result;
  const at::Tensor* matrices = inputs + settings.matrices();
  for (std::size_t i = 0; i < settings.adapters.size(); ++i) {
    const Settings::Adapter& adapter = settings.adapters[i];
    const at::Tensor a = matrices[2 * i].detach(), b = matrices[2 * i + 1].detach();
    LoraFactors& lora = result.emplace_back(LoraFactors{a.to(dtype), b.to(dtype), adapter.scale, adapter.dropout});
    lora.trains = matrices[2 * i].requires_grad() || matrices[2 * i + 1].requires_grad();
    if (adapter.magnitude == 0) continue;
    const at::Tensor& magnitude = inputs[adapter.magnitude];
    lora.gain = magnitude.detach().div(adapter.norms);
    lora.b = b.to(lora.gain.scalar_type()).mul(lora.gain.unsqueeze(1)).to(dtype);
    lora.trains = lora.trains || magnitude.requires_grad();
  }
  return result;
}

// Operations of the layer's products: of a pass, and of the adapters' gradients.
double product_flops(const at::Tensor& x, const BaseWeight& base, const std::vector<LoraFactors>& lora) {
  double each = static_cast<double>(base.in_features()) * static_cast<double>(base.out_features());
  for (const LoraFactors& one : lora) each += static_cast<double>(one.a.numel() + one.b.numel());
  return 2 * each * static_cast<double>(x.size(0));
}
double gradient_flops(const at::Tensor& g, const std::vector<LoraFactors>& lora) {
  double each = 0;
  for (const LoraFactors& one : lora) each += one.trains ? static_cast<double>(one.a.numel() + one.b.numel()) : 0;
  return 2 * each * static_cast<double>(g.size(0));
}
// What must be read and written at least: activations and the weight as it lies.
double product_bytes(const at::Tensor& x, const BaseWeight& base) {
  return static_cast<double>(x.size(0) * (base.in_features() + base.out_features()) * x.element_size()) +
         static_cast<double>(base.in_features() * base.out_features()) *
             static_cast<double>(c10::elementSize(base.dtype()));
}

// Gradients of the inputs. Saved are the inputs (x where it is needed, never W), then t₁, t₂, …, then the products
// kept.
std::vector<at::Tensor> gradients_of(const Settings& settings, bool train_adapters, const BackwardPass& pass) {
  const std::vector<at::Tensor>& saved = pass.saved;
  const std::size_t first = settings.matrices(), count = settings.adapters.size();
  const std::size_t given = saved.size() - 2 * count;  // inputs
  LoraNeeds needs;
  needs.dx = pass.needs(0);
  needs.dw = settings.trains_base && pass.needs(1);
  needs.dbias = settings.has_bias() && pass.needs(settings.bias());
  needs.adapters = train_adapters;
  const auto lora = factors(settings, saved.data(), product_dtype(pass.gradient.scalar_type()));
  const double passed = needs.dx ? product_flops(pass.gradient, settings.base, lora) : 0;
  const ProfileScope profiled("linear backward", passed + (needs.adapters ? gradient_flops(pass.gradient, lora) : 0),
                              product_bytes(pass.gradient, settings.base));
  LoraBackward d = lora_backward(pass.gradient, saved[0], settings.base, lora, std::span(saved).subspan(given), needs);
  std::vector<at::Tensor> result(given);
  result[0] = d.dx;
  if (needs.dw) result[1] = d.dw;
  if (needs.dbias) result[settings.bias()] = d.dbias.to(settings.base.bias().scalar_type());
  for (std::size_t i = 0; needs.adapters && i < count; ++i) {
    const std::size_t a = first + 2 * i, b = a + 1, m = settings.adapters[i].magnitude;
    if (m != 0 && lora[i].trains) {
      at::Tensor dm;
      std::tie(d.db[i], dm) = dora_gradients(pass.gradient, saved[given + count + i], saved[b].detach(), d.db[i],
                                             saved[m].detach(), settings.adapters[i].norms);
      if (saved[m].requires_grad()) result[m] = dm.to(saved[m].scalar_type());
    }
    if (saved[a].requires_grad()) result[a] = d.da[i].to(saved[a].scalar_type());
    if (saved[b].requires_grad()) result[b] = d.db[i].to(saved[b].scalar_type());
  }
  return result;
}

ForwardPass recorded(const std::vector<at::Tensor>& inputs, const std::shared_ptr<const Settings>& settings) {
  const std::size_t first = settings->matrices(), count = settings->adapters.size();
  const at::Tensor& x = inputs[0];
  auto lora = factors(*settings, inputs.data(), product_dtype(x.scalar_type()));
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t m = settings->adapters[i].magnitude;
    lora[i].keeps_product = m != 0 && inputs[m].requires_grad();
  }
  const ProfileScope profiled("linear", product_flops(x, settings->base, lora), product_bytes(x, settings->base));
  LoraForward result = lora_forward(x, settings->base, std::span(lora));

  const bool train_adapters = std::any_of(inputs.begin() + static_cast<std::ptrdiff_t>(first), inputs.end(),
                                          [](const at::Tensor& m) { return m.requires_grad(); });
  std::vector<at::Tensor> saved = inputs;
  if (!train_adapters && !settings->trains_base) saved[0] = at::Tensor();
  if (settings->trains_base) saved[1] = at::Tensor();
  for (std::size_t i = 0; i < count; ++i) saved.push_back(lora[i].trains ? result.t[i] : at::Tensor());
  saved.insert(saved.end(), result.product.begin(), result.product.end());
  return {result.y, std::move(saved), [settings, train_adapters](const BackwardPass& pass) {
            return gradients_of(*settings, train_adapters, pass);
          }};
}

void check(const at::Tensor& x, const BaseWeight& base, std::span<const LoraOperand> adapters) {
  const auto shape = [](const at::Tensor& t) {
    std::string text = "[";
    for (const auto n : t.sizes()) text += (text.size() > 1 ? ", " : "") + std::to_string(n);
    return text + "]";
  };
  if (x.dim() != 2 || x.size(1) != base.in_features()) {
    throw InternalError("kernels::lora_linear: x [T, " + std::to_string(base.in_features()) + "] is expected, found " +
                        shape(x));
  }
  for (const LoraOperand& lora : adapters) {
    if (lora.a.dim() != 2 || lora.b.dim() != 2 || lora.a.size(1) != base.in_features() ||
        lora.b.size(0) != base.out_features() || lora.a.size(0) != lora.b.size(1)) {
      throw InternalError("kernels::lora_linear: A [r, " + std::to_string(base.in_features()) + "] and B [" +
                          std::to_string(base.out_features()) + ", r] are expected, found " + shape(lora.a) + " and " +
                          shape(lora.b));
    }
    if (!lora.magnitude.defined()) continue;
    const at::IntArrayRef rows(lora.b.sizes().data(), 1);
    if (lora.magnitude.sizes() != rows || !lora.norms.defined() || lora.norms.sizes() != rows) {
      throw InternalError("kernels::lora_linear: a magnitude and norms [" + std::to_string(base.out_features()) +
                          "] are expected, found a magnitude " + shape(lora.magnitude));
    }
    if (base.trains()) throw InternalError("kernels::lora_linear: DoRA's base must be frozen");
  }
}

}  // namespace

at::Tensor lora_linear(const at::Tensor& x, const BaseWeight& base, std::span<const LoraOperand> adapters,
                       const DropoutContext* dropout) {
  check(x, base, adapters);
  if (!use_fused(x)) return composite::lora_linear(x, base, adapters, dropout);

  auto settings = std::make_shared<Settings>();
  settings->base = base;
  settings->trains_base = base.trains();
  std::vector<at::Tensor> inputs{x};
  if (settings->trains_base) inputs.push_back(base.trained());
  if (settings->has_bias()) inputs.push_back(base.bias());
  bool drops = false;
  for (const LoraOperand& lora : adapters) drops = drops || (dropout != nullptr && lora.dropout > 0);
  if (drops) settings->tokens.assign(dropout->token_in_step, dropout->token_in_step + x.size(0));
  for (const LoraOperand& lora : adapters) {
    DropoutPlace place;
    if (drops) place = {lora.dropout, lora.dropout_key, dropout->step, settings->tokens.data()};
    settings->adapters.push_back({lora.scale, place, 0, lora.norms});
    inputs.push_back(lora.a);
    inputs.push_back(lora.b);
  }
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    if (!adapters[i].magnitude.defined()) continue;
    settings->adapters[i].magnitude = inputs.size();
    inputs.push_back(adapters[i].magnitude);
  }
  const bool record = at::GradMode::is_enabled() &&
                      std::any_of(inputs.begin(), inputs.end(), [](const at::Tensor& t) { return t.requires_grad(); });
  if (record) return differentiable(inputs, [&] { return recorded(inputs, settings); });
  const at::NoGradGuard no_grad;
  const auto lora = factors(*settings, inputs.data(), product_dtype(x.scalar_type()));
  const ProfileScope profiled("linear", product_flops(x, base, lora), product_bytes(x, base));
  return lora_forward(x, base, lora).y;
}

at::Tensor base_forward(const at::Tensor& x, const BaseWeight& base) {
  check(x, base, {});
  const at::NoGradGuard no_grad;
  if (!use_fused(x)) return composite::lora_linear(x, base, {}, nullptr);
  return lora_forward(x, base, {}).y;
}

at::Tensor base_backward(const at::Tensor& g, const BaseWeight& base) {
  const at::NoGradGuard no_grad;
  if (!use_fused(g)) return g.matmul(base.rows(0, base.out_features(), g.scalar_type()));
  LoraNeeds needs;
  needs.dx = true;
  return lora_backward(g, {}, base, {}, {}, needs).dx;
}

}  // namespace lowrank::kernels
