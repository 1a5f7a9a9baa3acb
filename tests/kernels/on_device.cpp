// What stands on a device in place of the composite twins, over tensors of the CPU: LibTorch's ops are the same there.
#include "lowrank/kernels/on_device.h"

#include "lowrank/kernels/smoothed_cross_entropy.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;

namespace {

k::Segments segments_of(const std::vector<std::int64_t>& queries, const std::vector<std::int64_t>& keys) {
  k::Segments segments = k::Segments::of_lengths(queries);
  segments.k_offsets = k::Segments::of_lengths(keys).q_offsets;
  return segments;
}

void require_same(const Tensors& found, const Tensors& expected, double bound) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    INFO(i);
    REQUIRE(found[i].defined() == expected[i].defined());
    if (!expected[i].defined()) continue;
    REQUIRE(found[i].scalar_type() == expected[i].scalar_type());
    CHECK(distance(found[i], expected[i]) <= bound);
  }
}

at::Tensor labelled(const at::Tensor& labels) { return labels.ne(-100).nonzero().squeeze(1); }

}  // namespace

TEST_CASE("attention segment by segment through LibTorch's equals the twin, beside a cache and within windows too", "[unit]") {
  torch::manual_seed(31);
  struct Case {
    std::vector<std::int64_t> queries, keys;
    std::int64_t heads, kv_heads;
    std::optional<std::int64_t> window;
  };
  for (const Case& c : std::vector<Case>{{{37}, {37}, 4, 2, {}},
                                         {{129, 1, 0, 30}, {129, 1, 4, 30}, 4, 4, {}},
                                         {{1, 1}, {70, 3}, 6, 1, {}},
                                         {{5, 2}, {40, 2}, 4, 2, {}},
                                         {{90, 7}, {90, 30}, 4, 2, 16},
                                         {{1}, {50}, 2, 1, 8}}) {
    INFO(c.queries[0] << " queries of " << c.keys[0] << " keys, window " << c.window.value_or(0));
    const k::Segments segments = segments_of(c.queries, c.keys);
    const Tensors inputs{random({segments.tokens(), c.heads, 16}, at::kDouble),
                         random({segments.k_offsets.back(), c.kv_heads, 16}, at::kDouble),
                         random({segments.k_offsets.back(), c.kv_heads, 16}, at::kDouble)};
    const k::AttentionOptions options{0.3, c.window};
    const auto op = [&](auto&& attention) {
      return [&, attention](const Tensors& t) { return attention(t[0], t[1], t[2], segments, options); };
    };
    const auto ours = op([](auto&&... of) { return k::on_device::attention(of...); });
    const auto twin = op([](const at::Tensor& q, const at::Tensor& keys, const at::Tensor& v, const k::Segments& of,
                            const k::AttentionOptions& how) { return k::composite::attention(q, keys, v, of, how); });
    const std::vector<bool> all{true, true, true};
    require_same(run(ours, inputs, all), run(twin, inputs, all), 1e-11);
    require_same(run(ours, to(inputs, at::kFloat), all), run(twin, to(inputs, at::kFloat), all), 1e-5);
  }
}

TEST_CASE("the loss in chunks equals the twin, smoothed or not, and its gradient finite differences", "[unit]") {
  torch::manual_seed(32);
  for (const double smoothing : {0.0, 0.2}) {
    const at::Tensor weight = random({131, 33}, at::kDouble, 0.5);
    at::Tensor labels = torch::randint(131, {40}, at::kLong);
    labels.narrow(0, 3, 9).fill_(-100);
    const auto op = [&](bool ours) -> Op {
      return [&, ours](const Tensors& t) {
        const k::BaseWeight head = k::BaseWeight::dense(weight.to(t[0].scalar_type()));
        return ours ? k::on_device::cross_entropy(t[0], head, labels, labelled(labels), smoothing)
                    : k::composite::smoothed_cross_entropy(t[0], head, labels, smoothing);
      };
    };
    const Tensors inputs{random({40, 33}, at::kDouble)};
    require_same(run(op(true), inputs, {true}), run(op(false), inputs, {true}), 1e-11);
    require_same(run(op(true), to(inputs, at::kFloat), {true}), run(op(false), to(inputs, at::kFloat), {true}), 1e-5);
    require_finite_differences(op(true), {random({40, 33}, at::kDouble)}, {true});
    CHECK(!op(true)(inputs).requires_grad());
  }
  // Nothing is learned of these rows.
  const at::Tensor none = torch::full({4}, -100, at::kLong);
  const k::BaseWeight head = k::BaseWeight::dense(random({11, 5}));
  const Tensors nothing = run([&](const Tensors& t) { return k::on_device::cross_entropy(t[0], head, none, labelled(none), 0); }, {random({4, 5})}, {true});
  CHECK(nothing[0].abs().sum().item<float>() == 0);
  CHECK(nothing[1].abs().sum().item<float>() == 0);
}
