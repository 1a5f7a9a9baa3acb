// LayerNorm, RMSNorm rounded once, activations, soft caps, sinks, interleaved rotation.
#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/kernels/activation.h"
#include "lowrank/kernels/norms.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/runtime.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;
using k::Activation;

namespace {

const std::vector<Activation> activations = {Activation::kSilu,      Activation::kGelu, Activation::kGeluTanh,
                                             Activation::kQuickGelu, Activation::kRelu, Activation::kRelu2,
                                             Activation::kSigmoid,   Activation::kTanh};

const Op wide_norm = [](const Tensors& t) { return k::wide_rms_norm(t[0], t[1], 1e-5); };
const Op layer_norm = [](const Tensors& t) { return k::layer_norm(t[0], t[1], t[2], 1e-5); };
const Op bare_layer_norm = [](const Tensors& t) { return k::layer_norm(t[0], {}, {}, 1e-5); };
const Op unbiased_layer_norm = [](const Tensors& t) { return k::layer_norm(t[0], t[1], {}, 1e-5); };
const Op shifted_layer_norm = [](const Tensors& t) { return k::layer_norm(t[0], {}, t[1], 1e-5); };
const Op capped = [](const Tensors& t) { return k::soft_cap(t[0], 3.0); };

Op activating(Activation f) {
  return [f](const Tensors& t) { return k::activate(t[0], f); };
}
Op gating(Activation f) {
  return [f](const Tensors& t) { return k::gated(t[0], t[1], f); };
}

k::RotaryTables tables(std::int64_t rows, std::int64_t half) {
  const at::Tensor angle = torch::arange(rows, at::kFloat).mul(3).unsqueeze(1) *
                           torch::pow(100.0, -torch::arange(half, at::kFloat) / static_cast<double>(half));
  return {angle.cos() * 1.25, angle.sin() * 1.25, /*interleaved=*/true};
}
Op turning(std::int64_t rows, std::int64_t half) {
  return [=](const Tensors& t) { return k::rotary(t[0], tables(rows, half)); };
}

// q, k, v and, where `sinks`, a sink a head.
struct AttentionCase {
  std::vector<std::int64_t> lengths;
  std::int64_t heads = 4, kv_heads = 2, head_dim = 16;
  std::optional<std::int64_t> window = std::nullopt;
  double cap = 0;
  bool sinks = false;
};
Tensors attention_inputs(const AttentionCase& c, at::ScalarType dtype = at::kDouble) {
  torch::manual_seed(6);
  std::int64_t tokens = 0;
  for (const auto n : c.lengths) tokens += n;
  Tensors given{random({tokens, c.heads, c.head_dim}, dtype, 2), random({tokens, c.kv_heads, c.head_dim}, dtype),
              random({tokens, c.kv_heads, c.head_dim}, dtype)};
  if (c.sinks) given.push_back(random({c.heads}, dtype, 2));
  return given;
}
Op attending(const AttentionCase& c) {
  return [c](const Tensors& t) {
    k::AttentionOptions options{.scale = 0.4, .window = c.window, .cap = c.cap};
    if (c.sinks) options.sinks = t[3];
    return k::attention(t[0], t[1], t[2], k::Segments::of_lengths(c.lengths), options);
  };
}
const std::vector<AttentionCase> attention_cases{{.lengths = {37}, .cap = 2},
                              {.lengths = {129, 1, 300}, .cap = 5, .sinks = true},
                              {.lengths = {5, 0, 70}, .heads = 3, .kv_heads = 3, .head_dim = 7, .sinks = true},
                              {.lengths = {300, 31}, .head_dim = 8, .window = 40, .cap = 1.5, .sinks = true},
                              {.lengths = {200}, .heads = 6, .kv_heads = 1, .head_dim = 9, .window = 1, .sinks = true}};

}  // namespace

TEST_CASE("wide_rms_norm and layer_norm equal their twins", "[unit]") {
  torch::manual_seed(2);
  for (const std::int64_t d : {1, 63, 64, 577}) {
    const Tensors inputs{random({37, d}, at::kDouble), random({d}, at::kDouble), random({d}, at::kDouble)};
    const Tensors two(inputs.begin(), inputs.begin() + 2);
    for (const bool parameters : {false, true}) {
      for (const auto& [dtype, bound] : {std::pair(at::kDouble, 1e-11), {at::kFloat, 2e-5}, {at::kBFloat16, 0.02}}) {
        INFO(d << " wide " << c10::toString(dtype));
        require_twins(wide_norm, to(two, dtype), {true, parameters}, bound);
        const auto wide = dtype == at::kDouble ? at::kDouble : at::kFloat;
        require_twins(wide_norm, {two[0].to(dtype), two[1].to(wide)}, {true, parameters}, bound);
        if (d == 1) continue;  // no variance: the gradient is 0 times 1/sqrt(eps)
        require_twins(layer_norm, to(inputs, dtype), {true, parameters, parameters}, bound);
        require_twins(bare_layer_norm, {inputs[0].to(dtype)}, {true}, bound);
        require_twins(unbiased_layer_norm, to(two, dtype), {true, parameters}, bound);
        require_twins(shifted_layer_norm, to(two, dtype), {true, parameters}, bound);
      }
    }
  }
  const Tensors small{random({5, 11}, at::kDouble), random({11}, at::kDouble), random({11}, at::kDouble)};
  require_finite_differences(layer_norm, small, {true, true, true});
  require_finite_differences(wide_norm, {small[0], small[1]}, {true, true});
  const at::Tensor x = random({3, 40}, at::kDouble, 5) + 100, w = random({40}, at::kDouble),
                   b = random({40}, at::kDouble);
  CHECK(distance(k::layer_norm(x, w, b, 1e-5), torch::layer_norm(x, {40}, w, b, 1e-5)) <= 1e-11);
  CHECK_THROWS_AS(k::layer_norm(x, random({39}, at::kDouble), {}, 1e-5), lowrank::InternalError);
}

TEST_CASE("activations and soft caps equal their twins", "[unit]") {
  torch::manual_seed(4);
  for (const Activation f : activations) {
    INFO(static_cast<int>(f));
    const Tensors inputs{random({37, 1001}, at::kDouble, 3), random({37, 1001}, at::kDouble)};
    for (const auto& [dtype, bound] : {std::pair(at::kDouble, 1e-11), {at::kFloat, 1e-5}, {at::kBFloat16, 0.02}}) {
      require_twins(activating(f), {inputs[0].to(dtype)}, {true}, bound);
      require_twins(gating(f), to(inputs, dtype), {true, true}, bound);
    }
    require_finite_differences(activating(f), {random({3, 7}, at::kDouble)}, {true});
    require_finite_differences(gating(f), {random({3, 7}, at::kDouble), random({3, 7}, at::kDouble)}, {true, true});
    require_thread_independence(activating(f), {random({337, 163})}, {true});
    require_thread_independence(gating(f), to({random({337, 163}), random({337, 163})}, at::kBFloat16), {true, true});
  }
  const at::Tensor x = random({11, 513}, at::kDouble, 8);
  for (const auto& [dtype, bound] : {std::pair(at::kDouble, 1e-11), {at::kFloat, 1e-5}, {at::kBFloat16, 0.02}}) {
    require_twins(capped, {x.to(dtype)}, {true}, bound);
  }
  require_finite_differences(capped, {random({3, 7}, at::kDouble, 3)}, {true});
  require_thread_independence(capped, {random({337, 163})}, {true});
}

TEST_CASE("activations have transformers' names, and their limits", "[unit]") {
  for (const char* name :
       {"silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "quick_gelu", "relu", "relu2"}) {
    INFO(name);
    CHECK(k::find_activation(name).has_value());
  }
  CHECK_FALSE(k::find_activation("xielu").has_value());
  const at::Tensor x = torch::tensor({-1e30F, -100.0F, 0.0F, 100.0F, 1e15F, NAN});
  for (const Activation f : {Activation::kGelu, Activation::kGeluTanh, Activation::kQuickGelu, Activation::kRelu}) {
    const at::Tensor y = k::activate(x, f);
    INFO(static_cast<int>(f));
    CHECK(std::abs(y[0].item<float>()) < 1e-5F);
    CHECK(std::abs(y[1].item<float>()) < 1e-5F);
    CHECK(y[2].item<float>() == 0.0F);
    CHECK(y[3].item<float>() == 100.0F);
    CHECK(y[4].item<float>() == 1e15F);
    CHECK(std::isnan(y[5].item<float>()));
  }
  CHECK(k::soft_cap(torch::tensor({1e30F, -1e30F}), 30).equal(torch::tensor({30.0F, -30.0F})));
}

TEST_CASE("attention with soft caps and sinks equals its twin", "[unit]") {
  for (const AttentionCase& c : attention_cases) {
    INFO(fmt::format("{} tokens first, cap {}, sinks {}", c.lengths[0], c.cap, c.sinks));
    const std::vector<bool> every(c.sinks ? 4 : 3, true);
    require_twins(attending(c), attention_inputs(c), every, 1e-11);
    require_twins(attending(c), attention_inputs(c, at::kFloat), every, 2e-5);
    require_twins(attending(c), attention_inputs(c, at::kBFloat16), every, 0.03);
    if (c.sinks) require_twins(attending(c), attention_inputs(c), {true, true, true, false}, 1e-11);
  }
  for (const AttentionCase& c :
       {AttentionCase{.lengths = {6, 3}, .head_dim = 5, .cap = 1.5}, AttentionCase{.lengths = {9}, .window = 3, .sinks = true}}) {
    require_finite_differences(attending(c), attention_inputs(c), std::vector<bool>(c.sinks ? 4 : 3, true));
  }
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    require_thread_independence(attending(attention_cases[3]), attention_inputs(attention_cases[3], dtype), {true, true, true, true});
  }
}

TEST_CASE("attention over keys that lie apart is attention over one stream of them", "[unit]") {
  k::Segments segments;
  segments.q_offsets = {0, 3, 4, 135};
  segments.k_offsets = {0, 10, 11, 300};
  torch::manual_seed(8);
  const at::Tensor q = random({135, 4, 8}), keys = random({300, 2, 8}), values = random({300, 2, 8});
  std::vector<at::Tensor> k_apart, v_apart;  // in buffers that are longer
  for (std::int64_t s = 0; s < segments.count(); ++s) {
    for (const auto& [from, to] : {std::pair(&keys, &k_apart), std::pair(&values, &v_apart)}) {
      const at::Tensor buffer = torch::full({400, 2, 8}, NAN);
      buffer.narrow(0, 0, segments.k_length(s)).copy_(from->narrow(0, segments.k_offsets[s], segments.k_length(s)));
      to->push_back(buffer.narrow(0, 0, segments.k_length(s)));
    }
  }
  const k::AttentionOptions options{.scale = 0.3, .window = 50, .cap = 4};
  for (const auto mode : {k::Mode::kFused, k::Mode::kComposite}) {
    const k::RuntimeScope scope({.mode = mode});
    CHECK(equal_bytes(k::attention(q, k_apart, v_apart, segments, options),
                      k::attention(q, keys, values, segments, options)));
  }
}

TEST_CASE("interleaved rotation equals its twin, whole and partial", "[unit]") {
  torch::manual_seed(3);
  for (const std::int64_t half : {32, 20}) {
    const Tensors inputs{random({37, 3, 64}, at::kDouble)};
    require_twins(turning(37, half), inputs, {true}, 1e-11);
    require_twins(turning(37, half), to(inputs, at::kFloat), {true}, 1e-5);
    require_twins(turning(37, half), to(inputs, at::kBFloat16), {true}, 0.01);
  }
  require_finite_differences(turning(5, 4), {random({5, 2, 10}, at::kDouble)}, {true});
}
