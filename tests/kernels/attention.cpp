#include "lowrank/core/error.h"
#include "lowrank/kernels/ops.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;

namespace {

struct Case {
  std::vector<std::int64_t> lengths;
  std::int64_t heads = 4, kv_heads = 2, head_dim = 16;
  std::optional<std::int64_t> window = std::nullopt;
};

Tensors inputs_of(const Case& c, at::ScalarType dtype = at::kDouble) {
  torch::manual_seed(6);
  std::int64_t tokens = 0;
  for (const auto n : c.lengths) tokens += n;
  return {random({tokens, c.heads, c.head_dim}, dtype), random({tokens, c.kv_heads, c.head_dim}, dtype),
          random({tokens, c.kv_heads, c.head_dim}, dtype)};
}

k::AttentionOptions options_of(const Case& c) { return {1.5 / std::sqrt(static_cast<double>(c.head_dim)), c.window}; }

Op op_of(const Case& c) {
  return [c](const Tensors& t) {
    return k::attention(t[0], t[1], t[2], k::Segments::of_lengths(c.lengths), options_of(c));
  };
}

const std::vector<bool> all{true, true, true};

const std::vector<Case> cases{{{37}},
                              {{1}},
                              {{129, 1, 300}},
                              {{5, 0, 70}, 3, 3, 7},
                              {{200, 140}, 6, 1, 9},
                              {{300, 31}, 4, 2, 8, 40},
                              {{150}, 2, 2, 8, 1},
                              {{260}, 2, 1, 8, 128},
                              {{140}, 2, 1, 8, 1000}};

}  // namespace

TEST_CASE("attention equals its twin", "[unit]") {
  for (const Case& c : cases) {
    INFO(c.lengths[0] << " tokens first, " << c.heads << "/" << c.kv_heads << " heads, window "
                      << c.window.value_or(0));
    require_twins(op_of(c), inputs_of(c), all, 1e-11);
    require_twins(op_of(c), inputs_of(c, at::kFloat), all, 1e-5);
    require_twins(op_of(c), inputs_of(c, at::kBFloat16), all, 0.03);
  }
}

TEST_CASE("attention's gradients are those of finite differences", "[unit]") {
  for (const Case& c : {Case{{6, 3}, 4, 2, 5}, Case{{9}, 2, 1, 4, 3}}) {
    require_finite_differences(op_of(c), inputs_of(c), all);
  }
}

TEST_CASE("a packed batch gives what its segments give one by one", "[unit]") {
  const Case packed{{129, 1, 300, 17}};
  const Tensors inputs = inputs_of(packed, at::kFloat);
  const at::Tensor together = op_of(packed)(inputs);
  std::int64_t begin = 0;
  for (const auto n : packed.lengths) {
    Tensors piece;
    for (const auto& t : inputs) piece.push_back(t.narrow(0, begin, n));
    CHECK(equal_bytes(op_of({{n}})(piece), together.narrow(0, begin, n)));
    begin += n;
  }
}

TEST_CASE("queries are aligned with the last keys of their segment", "[unit]") {
  const std::vector<std::int64_t> keys{140, 3, 65};
  for (const auto window : {std::optional<std::int64_t>(), std::optional<std::int64_t>(20)}) {
    Case c{keys};
    c.window = window;
    const Tensors inputs = inputs_of(c);
    const at::Tensor whole = op_of(c)(inputs);
    for (const std::int64_t tail : {1, 2, 3}) {
      k::Segments segments;
      segments.q_offsets = {0, tail, 2 * tail, 3 * tail};
      segments.k_offsets = {0, 140, 143, 208};
      const auto last = [&](const at::Tensor& t) {
        return torch::cat(
            {t.narrow(0, 140 - tail, tail), t.narrow(0, 143 - tail, tail), t.narrow(0, 208 - tail, tail)});
      };
      for (const auto mode : {k::Mode::kFused, k::Mode::kComposite}) {
        const k::RuntimeScope scope({.mode = mode});
        const at::Tensor decoded = k::attention(last(inputs[0]), inputs[1], inputs[2], segments, options_of(c));
        CHECK(distance(decoded, last(whole)) < 1e-12);
      }
      CHECK(segments.positions()[0] == 140 - tail);
    }
  }
}

TEST_CASE("attention's gradients with fewer queries than keys equal the twin's", "[unit]") {
  k::Segments segments;
  segments.q_offsets = {0, 3, 135};
  segments.k_offsets = {0, 10, 300};
  torch::manual_seed(8);
  const Tensors inputs{random({135, 4, 8}, at::kDouble), random({300, 2, 8}, at::kDouble),
                       random({300, 2, 8}, at::kDouble)};
  for (const auto window : {std::optional<std::int64_t>(), std::optional<std::int64_t>(50)}) {
    require_twins(
        [&](const Tensors& t) {
          return k::attention(t[0], t[1], t[2], segments, {0.3, window});
        },
        inputs, all, 1e-11);
  }
}

TEST_CASE("attention's bytes do not depend on the number of threads", "[unit]") {
  for (const Case& c : {Case{{37, 5}, 3, 1, 63}, Case{{300, 31}, 4, 2, 8, 40}, Case{{1, 129}, 2, 2, 13}}) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      require_thread_independence(op_of(c), inputs_of(c, dtype), all);
    }
  }
}

TEST_CASE("attention says which segments do not fit", "[unit]") {
  const Tensors t = inputs_of({{8}});
  CHECK_THROWS_AS(k::attention(t[0], t[1], t[2], k::Segments::of_lengths({7}), {}), lowrank::InternalError);
  const k::Segments fits = k::Segments::of_lengths({8});
  const at::Tensor three = random({8, 3, t[0].size(2)}, at::kDouble);
  CHECK_THROWS_AS(k::attention(three, three.narrow(1, 0, 2), three.narrow(1, 0, 2), fits, {}), lowrank::InternalError);
  CHECK_THROWS_AS(k::attention(three, three, three.narrow(1, 0, 1), fits, {}), lowrank::InternalError);
  CHECK_THROWS_AS(k::attention(three, three.narrow(2, 1, 2), three, fits, {}), lowrank::InternalError);
  CHECK_THROWS_AS(k::attention(three, three.narrow(0, 0, 4), three, fits, {}), lowrank::InternalError);
  k::Segments more_queries;
  more_queries.q_offsets = {0, 8};
  more_queries.k_offsets = {0, 4};
  CHECK_THROWS_AS(k::attention(t[0], t[1].narrow(0, 0, 4), t[2].narrow(0, 0, 4), more_queries, {}),
                  lowrank::InternalError);
}
