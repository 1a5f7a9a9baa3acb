#include "lowrank/lora/adapter.h"

#include <cmath>

#include "fixture.h"

using namespace lora_test;
using lora::LoraConfig;

namespace {

LoraConfig all_linear(std::int64_t r = 4) {
  LoraConfig config;
  config.r = r;
  config.lora_alpha = 2.0 * static_cast<double>(r);
  return config;
}

}  // namespace

TEST_CASE("attaching draws A by (seed, path) and leaves the model as it was", "[unit]") {
  auto table = tiny_llama();
  const at::Tensor x = torch::randn({3, 16});
  const auto q = slot_named(table, "model.layers.1.self_attn.q_proj");
  const at::Tensor before = slot_named(table, "model.layers.1.self_attn.q_proj")->forward(x);
  auto adapter = lora::attach(table, all_linear(), 5);
  CHECK(adapter.slots().size() == 21);
  CHECK(adapter.config().base_model_name_or_path == "tiny/llama");
  CHECK(at::equal(q->forward(x), before));
  const at::Tensor a = q->lora().a.detach().clone();
  CHECK(q->lora().a.requires_grad());
  CHECK(q->lora().b.requires_grad());
  CHECK(q->lora().scale == 2);
  CHECK(a.abs().max().item<double>() <= 0.25);
  CHECK(a.abs().max().item<double>() > 0.2);
  CHECK(std::fabs(a.mean().item<double>()) < 0.08);
  CHECK(q->lora().b.abs().sum().item<double>() == 0);
  CHECK_FALSE(at::equal(a, slot_named(table, "model.layers.0.self_attn.q_proj")->lora().a));

  const auto parameters = adapter.parameters();
  CHECK(parameters.size() == 42);
  CHECK(parameters[0].name == "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
  CHECK(parameters[1].name == "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight");
  std::int64_t count = 0;
  for (const auto& parameter : parameters) count += parameter.tensor.numel();
  CHECK(adapter.parameter_count() == count);

  adapter.detach();
  CHECK_FALSE(q->adapted());
  CHECK(adapter.slots().empty());
  lora::attach(table, all_linear(), 5);
  CHECK(same_bytes(q->lora().a.detach(), a));
}

TEST_CASE("gaussian, patterns and rsLoRA reach the slots", "[unit]") {
  auto table = tiny_llama();
  LoraConfig config = all_linear(8);
  config.init_lora_weights = "gaussian";
  config.use_rslora = true;
  config.rank_pattern = {{"k_proj", 2}};
  config.alpha_pattern = {{"layers.0.mlp.up_proj", 3}};
  lora::attach(table, config);
  const auto k = slot_named(table, "model.layers.2.self_attn.k_proj");
  CHECK(k->lora().a.size(0) == 2);
  CHECK(k->lora().scale == Approx(16 / std::sqrt(2.0)));
  CHECK(slot_named(table, "model.layers.0.mlp.up_proj")->lora().scale == Approx(3 / std::sqrt(8.0)));
  const at::Tensor a = slot_named(table, "model.layers.0.mlp.down_proj")->lora().a;
  CHECK(a.std().item<double>() == Approx(1.0 / 8).epsilon(0.25));
}

TEST_CASE("what cannot be attached leaves nothing behind", "[unit]") {
  auto table = tiny_llama();
  LoraConfig config = all_linear();
  config.rank_pattern = {{"w_proj", 2}};
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { lora::attach(table, config); }),
                 "no adapted module is named 'w_proj'"));
  config = all_linear();
  config.alpha_pattern = {{"w_proj", 2}};
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { lora::attach(table, config); }), "alpha_pattern: no adapted module is named 'w_proj'"));
  config = all_linear();
  config.target_modules = std::vector<std::string>{"up_proj"};
  auto first = lora::attach(table, config);
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { lora::attach(table, all_linear()); }),
                 "already carries the adapter 'default'"));
  CHECK_FALSE(slot_named(table, "model.layers.0.self_attn.q_proj")->adapted());
  first.detach();
  CHECK_NOTHROW(lora::attach(table, all_linear()));
}

TEST_CASE("adapters off are the base; merged they compute the same", "[unit]") {
  auto table = tiny_llama();
  auto q = slot_named(table, "model.layers.1.self_attn.q_proj");
  const torch::NoGradGuard no_grad;
  const at::Tensor x = torch::randn({3, 16});
  const at::Tensor base = q->forward(x);
  auto adapter = lora::attach(table, all_linear());
  randomise(adapter);
  const at::Tensor adapted = q->forward(x);
  CHECK_FALSE(at::allclose(adapted, base));
  adapter.set_enabled(false);
  CHECK(same_bytes(q->forward(x), base));
  adapter.set_enabled(true);
  CHECK(same_bytes(q->forward(x), adapted));
  adapter.merge();
  CHECK(at::allclose(q->forward(x), adapted, 1e-4, 1e-5));
  adapter.unmerge();
  CHECK(same_bytes(q->forward(x), adapted));
}
