// The causal convolution and the gated norm: against formulas, twins, finite differences.
#include <fmt/format.h>
#include <torch/nn/functional/conv.h>

#include "lowrank/core/error.h"
#include "lowrank/kernels/linear_attention.h"
#include "lowrank/kernels/norms.h"
#include "support.h"

using namespace kernel_test;
namespace k = lowrank::kernels;

namespace {

struct Case {
  std::vector<std::int64_t> lengths;
  std::int64_t channels = 7, taps = 4;
  bool bias = false, silu = false;
};

Tensors inputs_of(const Case& c, at::ScalarType dtype = at::kDouble) {
  torch::manual_seed(3);
  std::int64_t tokens = 0;
  for (const auto n : c.lengths) tokens += n;
  Tensors all{random({tokens, c.channels}, dtype, 2), random({c.channels, c.taps}, dtype)};
  if (c.bias) all.push_back(random({c.channels}, dtype));
  return all;
}

Op convolving(const Case& c) {
  return [c](const Tensors& t) {
    return k::causal_convolution(t[0], t[1], c.bias ? t[2] : at::Tensor(), k::Segments::of_lengths(c.lengths), c.silu);
  };
}

const std::vector<Case> cases{{.lengths = {50}, .silu = true},
                              {.lengths = {64, 2, 0, 67, 1, 1, 129}, .taps = 3, .bias = true},
                              {.lengths = {5, 63, 3}, .channels = 300, .bias = true, .silu = true},
                              {.lengths = {4, 70}, .taps = 1}};

const Op gated_norm = [](const Tensors& t) { return k::gated_rms_norm(t[0], t[1], t[2], 1e-3); };

}  // namespace

TEST_CASE("the causal convolution is conv1d on each segment, and equals its twin with every gradient", "[unit]") {
  namespace F = torch::nn::functional;
  for (const Case& c : cases) {
    INFO(fmt::format("{} tokens first, {} taps, silu {}", c.lengths[0], c.taps, c.silu));
    const Tensors t = inputs_of(c);
    std::vector<at::Tensor> outputs;
    std::int64_t begin = 0;
    for (const std::int64_t n : c.lengths) {
      if (n == 0) continue;
      F::Conv1dFuncOptions options;
      options.padding(c.taps - 1).groups(c.channels);
      if (c.bias) options.bias(t[2]);
      const at::Tensor y = F::conv1d(t[0].narrow(0, begin, n).t().unsqueeze(0), t[1].unsqueeze(1), options);
      outputs.push_back(y.narrow(2, 0, n).squeeze(0).t());
      begin += n;
    }
    const at::Tensor expected = torch::cat(outputs);
    CHECK(distance(convolving(c)(t), c.silu ? torch::silu(expected) : expected) <= 1e-11);
    const std::vector<bool> all(t.size(), true);
    std::vector<bool> x_only(t.size(), false);
    x_only[0] = true;
    require_twins(convolving(c), t, all, 1e-11);
    require_twins(convolving(c), t, x_only, 1e-11);
    require_twins(convolving(c), inputs_of(c, at::kFloat), all, 1e-5);
    require_twins(convolving(c), inputs_of(c, at::kBFloat16), all, 0.02);
  }
  const Case small{.lengths = {6, 2, 9}, .channels = 3, .bias = true, .silu = true};
  require_finite_differences(convolving(small), inputs_of(small), {true, true, true});
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    require_thread_independence(convolving(cases[2]), inputs_of(cases[2], dtype), {true, true, true});
  }
}

TEST_CASE("the causal convolution goes on from what was before, in pieces of any length", "[unit]") {
  const Case c{.lengths = {40, 21}, .channels = 5, .taps = 4, .bias = true, .silu = true};
  for (const auto mode : {k::Mode::kFused, k::Mode::kComposite}) {
    const k::RuntimeScope scope({.mode = mode});
    const Tensors t = inputs_of(c, at::kFloat);
    const at::Tensor whole = convolving(c)(t);
    std::vector<at::Tensor> before(2);
    std::vector<std::int64_t> done{0, 0};
    for (const auto& [first, second] : {std::pair(1, 2), {1, 1}, {0, 1}, {2, 0}, {36, 17}}) {
      const at::Tensor places = torch::cat({torch::arange(done[0], done[0] + first, at::kLong),
                                            torch::arange(40 + done[1], 40 + done[1] + second, at::kLong)});
      const at::Tensor y = k::causal_convolution(t[0].index_select(0, places), t[1], t[2],
                                                 k::Segments::of_lengths({first, second}), c.silu, before);
      CHECK(distance(y, whole.index_select(0, places)) <= 1e-6);
      done[0] += first;
      done[1] += second;
    }
    CHECK(before[1].equal(t[0].narrow(0, 58, 3)));
  }
  const Tensors t = inputs_of(c);
  CHECK_THROWS_AS(k::causal_convolution(t[0], t[1], t[2], k::Segments::of_lengths({40}), true), lowrank::InternalError);
  CHECK_THROWS_AS(k::causal_convolution(t[0], t[1].t(), {}, k::Segments::of_lengths(c.lengths), true),
                  lowrank::InternalError);
}

TEST_CASE("the gated norm equals its twin", "[unit]") {
  torch::manual_seed(2);
  for (const std::int64_t d : {5, 64, 129}) {
    const Tensors inputs{random({37, 3, d}, at::kDouble), random({d}, at::kDouble), random({37, 3, d}, at::kDouble, 3)};
    for (const bool weight : {false, true}) {
      for (const auto& [dtype, bound] : {std::pair(at::kDouble, 1e-11), {at::kFloat, 2e-5}, {at::kBFloat16, 0.02}}) {
        INFO(d << " " << c10::toString(dtype));
        require_twins(gated_norm, to(inputs, dtype), {true, weight, true}, bound);
      }
    }
    require_thread_independence(gated_norm, to(inputs, at::kBFloat16), {true, true, true});
  }
  require_finite_differences(gated_norm,
                             {random({4, 9}, at::kDouble), random({9}, at::kDouble), random({4, 9}, at::kDouble)},
                             {true, true, true});
  CHECK_THROWS_AS(k::gated_rms_norm(random({4, 9}), random({8}), random({4, 9}), 1e-6), lowrank::InternalError);
}
