#include "fixture.h"
#include "lowrank/lora/delta.h"
#include "lowrank/lora/linear_slot.h"

using namespace lora_test;

namespace {

lora::LinearSlot slot_of(at::ScalarType dtype, bool bias = false) {
  torch::manual_seed(1);
  return linear_slot("model.layers.0.mlp.up_proj", (torch::randn({24, 16}) * 0.2).to(dtype),
                     bias ? (torch::randn({24}) * 0.2).to(dtype) : at::Tensor());
}

lora::LoraMatrices matrices(std::int64_t r, double scale = 1.5, double dropout = 0) {
  torch::manual_seed(2);
  lora::LoraMatrices m{torch::randn({r, 16}), torch::randn({24, r}), r, scale, dropout};
  m.a.set_requires_grad(true);
  m.b.set_requires_grad(true);
  return m;
}

}  // namespace

TEST_CASE("a slot computes x W' + b, and with an adapter s x A' B' more", "[unit]") {
  auto slot = slot_of(at::kFloat, true);
  const at::Tensor x = torch::randn({5, 16});
  const at::Tensor base = torch::linear(x, weight_of(slot), slot->base().bias());
  CHECK(at::allclose(slot->forward(x), base, 1e-5, 1e-6));
  slot->attach(matrices(3));
  const at::Tensor delta = x.matmul(slot->lora().a.t()).matmul(slot->lora().b.t()) * 1.5;
  CHECK(at::allclose(slot->forward(x), base + delta, 1e-5, 1e-5));
  slot->set_enabled(false);
  CHECK(at::allclose(slot->forward(x), base, 1e-5, 1e-6));
  slot->set_enabled(true);
  CHECK(at::allclose(slot->delta_weight(), slot->lora().b.matmul(slot->lora().a) * 1.5, 1e-5, 1e-5));
  slot->detach();
  CHECK_FALSE(slot->adapted());
  CHECK(at::allclose(slot->forward(x), base, 1e-5, 1e-6));
}

TEST_CASE("a slot's parameters have PEFT's names and are its own leaves", "[unit]") {
  auto slot = slot_of(at::kBFloat16, true);
  slot->attach(matrices(2));
  std::vector<std::string> names;
  for (const auto& item : slot->module()->named_parameters()) {
    names.push_back(item.key());
    CHECK(item.value().requires_grad() == (item.key().find("lora_") == 0));
  }
  CHECK(names == std::vector<std::string>{"base_layer.weight", "base_layer.bias", "lora_A.weight", "lora_B.weight"});
  CHECK(slot->module()->named_parameters()["lora_A.weight"].is_same(slot->lora().a));
  CHECK(weight_of(slot).scalar_type() == at::kBFloat16);
  slot->detach();
  CHECK(slot->module()->named_parameters().size() == 2);
  slot->attach(matrices(4));
  CHECK_THROWS_AS(slot->attach(matrices(4)), ConfigError);
  slot->detach();
  auto bad = matrices(4);
  bad.r = 3;
  CHECK(contains(message_of(ErrorKind::kModel, [&] { slot->attach(bad); }), "lora_A must be [3, 16]"));
}

TEST_CASE("the weight is used where it lies", "[unit]") {
  const at::Tensor weight = torch::randn({4, 6});
  const auto slot = linear_slot("p", weight);
  CHECK(weight_of(slot).const_data_ptr() == weight.const_data_ptr());
  CHECK(slot->module()->named_parameters()["base_layer.weight"].const_data_ptr() == weight.const_data_ptr());

  const at::Tensor leaf = torch::randn({4, 6}).requires_grad_(), moved = torch::randn({4, 6});
  const auto trained = linear_slot("p", leaf);
  leaf.set_data(moved);  // as the owner of a flat buffer does
  CHECK(weight_of(trained).const_data_ptr() == moved.const_data_ptr());
  CHECK(trained->module()->named_parameters()["base_layer.weight"].is_same(leaf));
}

TEST_CASE("merging rounds once and unmerging gives the exact bytes back", "[unit]") {
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble}) {
    INFO(c10::toString(dtype));
    auto slot = slot_of(dtype);
    const at::Tensor before = weight_of(slot).clone();
    slot->attach(matrices(3));
    slot->merge();
    slot->merge();
    CHECK(slot->merged());
    CHECK(same_bytes(weight_of(slot), before));
    const at::Tensor wide = before.to(dtype == at::kDouble ? at::kDouble : at::kFloat);
    const at::Tensor expected = (wide + slot->delta_weight()).to(dtype);
    CHECK(same_bytes(lora::merged_rows(before, slot->lora(), 0, 24), expected));
    CHECK(same_bytes(lora::merged_rows(before.slice(0, 5, 9), slot->lora(), 5, 9), expected.slice(0, 5, 9)));
    if (dtype != at::kHalf) {
      const torch::NoGradGuard no_grad;
      const at::Tensor x = torch::randn({5, 16}).to(dtype);
      const double tolerance = dtype == at::kBFloat16 ? 0.05 : 1e-4;
      CHECK(at::allclose(slot->forward(x), x.matmul(expected.t()), tolerance, tolerance));
    }
    slot->unmerge();
    CHECK_FALSE(slot->merged());
    CHECK(same_bytes(weight_of(slot), before));
  }
}

TEST_CASE("a merged slot cannot be trained", "[unit]") {
  auto slot = slot_of(at::kFloat);
  slot->attach(matrices(3));
  slot->merge();
  const at::Tensor x = torch::randn({2, 16}).requires_grad_();
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { slot->forward(x); }), "call unmerge() first"));
  const kernels::DropoutContext dropout;
  CHECK_THROWS_AS(slot->forward(x.detach(), &dropout), ConfigError);
  CHECK_NOTHROW(slot->forward(x.detach()));
}

TEST_CASE("dropout acts in training only, by seed, path, step and token", "[unit]") {
  auto slot = slot_of(at::kFloat);
  slot->attach(matrices(3, 1.5, 0.5));
  const at::Tensor x = torch::randn({4, 16});
  const std::vector<std::int64_t> tokens = {0, 1, 2, 3}, others = {4, 5, 6, 7};
  const auto run = [&](std::uint64_t seed, std::uint64_t step, const std::vector<std::int64_t>& places) {
    const kernels::DropoutContext context{seed, step, places.data()};
    return slot->forward(x, &context).detach();
  };
  const at::Tensor first = run(1, 0, tokens);
  CHECK(same_bytes(first, run(1, 0, tokens)));
  CHECK_FALSE(at::allclose(first, slot->forward(x)));
  CHECK_FALSE(at::allclose(first, run(2, 0, tokens)));
  CHECK_FALSE(at::allclose(first, run(1, 1, tokens)));
  CHECK_FALSE(at::allclose(first, run(1, 0, others)));
  const auto other = linear_slot("model.layers.1.mlp.up_proj", weight_of(slot));
  other->attach(slot->lora());
  const kernels::DropoutContext context{1, 0, tokens.data()};
  CHECK_FALSE(at::allclose(first, other->forward(x, &context)));
}

TEST_CASE("several adapters on one slot: each acts while it is enabled, and their sum is what all of them add",
          "[unit]") {
  auto slot = slot_of(at::kFloat);
  const at::Tensor x = torch::randn({5, 16});
  const at::Tensor base = slot->forward(x);
  slot->attach(matrices(3));
  const at::Tensor first = slot->forward(x) - base;
  auto other = matrices(2, 0.7);
  slot->attach(other, "other");
  slot->set_enabled(false);
  CHECK(at::allclose(slot->forward(x), base + x.matmul(other.a.t()).matmul(other.b.t()) * 0.7, 1e-5, 1e-5));
  const at::Tensor second = slot->forward(x) - base;
  slot->set_enabled(true);
  CHECK(at::allclose(slot->forward(x), base + first + second, 1e-5, 1e-5));
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { slot->merge(); }), "several adapters"));
  slot->set_enabled(false, "other");
  slot->merge();
  CHECK(at::allclose(slot->forward(x), base + first, 1e-4, 1e-4));
  slot->unmerge();
  slot->detach();
  CHECK(slot->adapted("other"));
  CHECK_FALSE(slot->adapted("default"));
  CHECK(same_bytes(slot->forward(x), base));
  slot->set_enabled(true, "other");
  CHECK(at::allclose(slot->delta_weight("other"), other.b.matmul(other.a) * 0.7, 1e-5, 1e-5));
  CHECK_THROWS_AS(slot->lora(), InternalError);
}
