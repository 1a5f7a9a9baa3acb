// The gated delta rule and its decay: against the recurrence token by token, the chunked twin, finite differences.
#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/kernels/linear_attention.h"
#include "support.h"

using namespace kernel_test;
namespace k = lowrank::kernels;

namespace {

struct Case {
  std::vector<std::int64_t> lengths;
  k::DeltaRuleShape shape{.key_heads = 2, .value_heads = 4, .key_dim = 8, .value_dim = 6};
  double decay = 0.3;  // g is −decay · softplus of a normal number

  std::int64_t tokens() const {
    std::int64_t sum = 0;
    for (const auto n : lengths) sum += n;
    return sum;
  }
};

// qkv, g (not above 0), beta (between 0 and 1).
Tensors inputs_of(const Case& c, at::ScalarType dtype = at::kDouble) {
  torch::manual_seed(5);
  const at::Tensor qkv = random({c.tokens(), c.shape.columns()}, at::kDouble, 2);
  const at::Tensor g = -c.decay * random({c.tokens(), c.shape.value_heads}, at::kDouble).exp().log1p();
  const at::Tensor beta = random({c.tokens(), c.shape.value_heads}, at::kDouble, 2).sigmoid();
  return {qkv.to(dtype), g.to(dtype == at::kDouble ? at::kDouble : at::kFloat), beta.to(dtype)};
}

Op delta(const Case& c) {
  return [c](const Tensors& t) {
    return k::gated_delta_rule(t[0], t[1], t[2], c.shape, k::Segments::of_lengths(c.lengths));
  };
}

// The definition: S ← e^g S;  S ← S + β k (v − Sᵀk)ᵀ;  o = Sᵀq / √d.
at::Tensor recurrence(const Tensors& t, const Case& c) {
  const auto& s = c.shape;
  const auto parts = t[0].split_with_sizes({s.key_columns(), s.key_columns(), s.value_columns()}, 1);
  const auto unit = [&](const at::Tensor& x) {
    const at::Tensor heads = x.view({-1, s.key_heads, s.key_dim});
    return (heads / (heads.square().sum(-1, true) + 1e-6).sqrt()).repeat_interleave(s.value_heads / s.key_heads, 1);
  };
  const at::Tensor q = unit(parts[0]) / std::sqrt(static_cast<double>(s.key_dim)), key = unit(parts[1]);
  const at::Tensor v = parts[2].view({-1, s.value_heads, s.value_dim});
  std::vector<at::Tensor> outputs;
  std::int64_t token = 0;
  for (const std::int64_t n : c.lengths) {
    at::Tensor state = torch::zeros({s.value_heads, s.key_dim, s.value_dim}, t[0].options());
    for (std::int64_t end = token + n; token < end; ++token) {
      state = state * t[1][token].exp().view({-1, 1, 1});
      const at::Tensor error = v[token] - (state * key[token].unsqueeze(2)).sum(1);
      state = state + key[token].unsqueeze(2) * (t[2][token].unsqueeze(1) * error).unsqueeze(1);
      outputs.push_back((state * q[token].unsqueeze(2)).sum(1));
    }
  }
  return torch::stack(outputs);
}

const std::vector<Case> cases{
    {.lengths = {37}},
    {.lengths = {64, 1, 130, 0, 65}},
    {.lengths = {200}, .shape = {1, 3, 32, 40}, .decay = 8},
    {.lengths = {3, 129}, .shape = {4, 4, 16, 64}, .decay = 0},
};

const Op decay = [](const Tensors& t) { return k::delta_decay(t[0], t[1], t[2]); };

}  // namespace

TEST_CASE("the gated delta rule is its recurrence, and equals its twin with every gradient", "[unit]") {
  for (const Case& c : cases) {
    INFO(fmt::format("{} tokens, {} value heads, decay {}", c.tokens(), c.shape.value_heads, c.decay));
    const Tensors inputs = inputs_of(c);
    CHECK(distance(delta(c)(inputs), recurrence(inputs, c)) <= 1e-11);
    require_twins(delta(c), inputs, {true, true, true}, 1e-10);
    require_twins(delta(c), inputs_of(c, at::kFloat), {true, true, true}, 1e-4);
    require_twins(delta(c), inputs_of(c, at::kBFloat16), {true, true, true}, 0.03);
  }
  require_finite_differences(delta({.lengths = {70, 5}}), inputs_of({.lengths = {70, 5}}), {true, true, true});
}

TEST_CASE("the gated delta rule has the same bytes with any number of threads, and for a segment in any company",
          "[unit]") {
  const Case c{.lengths = {100, 64, 7}, .shape = {2, 6, 32, 48}};
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Tensors inputs = inputs_of(c, dtype);
    require_thread_independence(delta(c), inputs, {true, true, true});
    const Tensors packed = run(delta(c), inputs, {true, true, true});
    const Case alone{.lengths = {64}, .shape = c.shape};
    Tensors some;
    for (const at::Tensor& t : inputs) some.push_back(t.narrow(0, 100, 64).contiguous());
    CHECK(equal_bytes(delta(alone)(some), packed[0].narrow(0, 100, 64)));
  }
}

TEST_CASE("the gated delta rule goes on from a state, in pieces of any length", "[unit]") {
  const Case c{.lengths = {90, 140}};
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    for (const auto mode : {k::Mode::kFused, k::Mode::kComposite}) {
      const k::RuntimeScope scope({.mode = mode});
      const Tensors t = inputs_of(c, dtype);
      const at::Tensor whole = delta(c)(t);
      std::vector<at::Tensor> states(2);
      std::vector<std::int64_t> done{0, 0};
      for (const auto& [first, second] : {std::pair(20, 70), {1, 1}, {0, 5}, {69, 0}, {0, 64}}) {
        std::vector<at::Tensor> rows;
        for (const auto& [from, n] : {std::pair(done[0], first), {90 + done[1], second}}) {
          rows.push_back(torch::arange(from, from + n, at::kLong));
        }
        const at::Tensor places = torch::cat(rows);
        const auto before = states;
        const at::Tensor y = k::gated_delta_rule(t[0].index_select(0, places), t[1].index_select(0, places),
                                                 t[2].index_select(0, places), c.shape,
                                                 k::Segments::of_lengths({first, second}), states);
        CHECK(distance(y, whole.index_select(0, places)) <= (dtype == at::kDouble ? 1e-11 : 2e-5));
        if (before[0].defined() && first > 0) CHECK_FALSE(before[0].is_alias_of(states[0]));
        done[0] += first;
        done[1] += second;
      }
    }
  }
}

TEST_CASE("the delta rule's decay equals its twin, far out too", "[unit]") {
  torch::manual_seed(9);
  const Tensors inputs{random({301, 5}, at::kDouble, 8), random({5}, at::kDouble), random({5}, at::kDouble)};
  require_twins(decay, inputs, {true, true, true}, 1e-11);
  require_twins(decay, to(inputs, at::kFloat), {true, true, true}, 1e-5);
  require_twins(decay, to(inputs, at::kBFloat16), {true, true, true}, 0.02);
  require_finite_differences(decay, {random({6, 3}, at::kDouble), inputs[1].narrow(0, 0, 3), inputs[2].narrow(0, 0, 3)},
                             {true, true, true});
  require_thread_independence(decay, to(inputs, at::kFloat), {true, true, true});
  const at::Tensor far = torch::tensor({{-200.0F, 200.0F}}), zero = torch::zeros({2});
  CHECK(decay({far, zero, zero}).equal(torch::tensor({{0.0F, -200.0F}})));
}

TEST_CASE("the gated delta rule refuses what does not fit", "[unit]") {
  const Case c{.lengths = {9}};
  const Tensors t = inputs_of(c);
  const auto segments = k::Segments::of_lengths({9});
  CHECK_THROWS_AS(k::gated_delta_rule(t[0], t[1], t[2], c.shape, k::Segments::of_lengths({8})), lowrank::InternalError);
  CHECK_THROWS_AS(k::gated_delta_rule(t[0], t[1].narrow(1, 0, 2), t[2], c.shape, segments), lowrank::InternalError);
  CHECK_THROWS_AS(k::gated_delta_rule(t[0].narrow(1, 0, 8), t[1], t[2], c.shape, segments), lowrank::InternalError);
}
