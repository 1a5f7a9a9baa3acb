#include "lowrank/lora/combine.h"

#include <ATen/CPUGeneratorImpl.h>

#include "fixture.h"
#include "lowrank/lora/peft_tensors.h"

using namespace lora_test;

namespace {

lora::Adapter adapter_of(const lora::SlotTable& table, const std::string& name, const std::vector<std::string>& targets,
                         std::int64_t r, double alpha) {
  lora::LoraConfig config;
  config.r = r;
  config.lora_alpha = alpha;
  config.target_modules = targets;
  lora::Adapter adapter = lora::attach(table, config, 3, name);
  const torch::NoGradGuard no_grad;
  torch::manual_seed(static_cast<int>(r));
  for (const auto& parameter : adapter.parameters()) at::Tensor(parameter.tensor).normal_(0, 0.5);
  return adapter;
}

at::Tensor delta_of(const lora::LoraMatrices& lora) { return lora.b.detach().mm(lora.a.detach()) * lora.scale; }

double distance(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

}  // namespace

TEST_CASE("matrices are combined as PEFT's merge_utils do, masks by the same seed", "[parity]") {
  const auto json = golden("combine.json");
  const auto shape = json["shape"].get<std::vector<std::int64_t>>();
  std::vector<at::Tensor> tensors;
  for (const auto& values : json["tensors"]) tensors.push_back(torch::tensor(values.get<std::vector<float>>()).view(shape));
  for (const auto& row : json["rows"]) {
    const std::string method = row["method"];
    INFO(method << " " << row["density"] << " " << row["by_frequency"]);
    const auto combined = [&](std::uint64_t seed) {
      return lora::combine_tensors(method, tensors, json["weights"].get<std::vector<double>>(), row["density"],
                                   row["by_frequency"], at::detail::createCPUGenerator(seed));
    };
    const at::Tensor expected = torch::tensor(row["result"].get<std::vector<float>>()).view(shape);
    CHECK(distance(combined(json["seed"].get<std::uint64_t>()), expected) < 1e-6);
    CHECK((distance(combined(99), expected) > 1e-3) == (method.rfind("dare", 0) == 0));
  }
}

TEST_CASE("cat is exactly the weighted sum of the updates, svd the best of a rank", "[unit]") {
  const auto table = tiny_llama();
  auto one = adapter_of(table, "one", {"q_proj", "embed_tokens"}, 3, 5);
  auto two = adapter_of(table, "two", {"q_proj", "down_proj"}, 4, 6);
  const auto q = slot_named(table, "model.layers.1.self_attn.q_proj"), down = slot_named(table, "model.layers.1.mlp.down_proj");
  const at::Tensor sum = 0.7 * delta_of(q->lora("one")) - 0.2 * delta_of(q->lora("two"));
  const at::Tensor alone = -0.2 * delta_of(down->lora("two")), rows = 0.7 * delta_of(table.embedding->lora("one"));
  lora::CombineOptions options;
  options.weights = {0.7, -0.2};
  const auto load = [&](const lora::CombinedAdapter& made) {
    lowrank_test::TempDir dir;
    lora::write_peft(made.tensors, made.config, dir.path());
    return lora::load_peft(table, dir.path(), nullptr, "sum");
  };
  auto cat = load(lora::combine(table, {&one, &two}, options));
  CHECK(cat.config().r == 7);
  CHECK(distance(delta_of(q->lora("sum")), sum) < 1e-5);
  CHECK(distance(delta_of(down->lora("sum")), alone) < 1e-5);
  CHECK(distance(delta_of(table.embedding->lora("sum")), rows) < 1e-5);
  cat.detach();
  options.method = "svd";
  options.svd_rank = 2;
  auto svd = load(lora::combine(table, {&one, &two}, options));
  const auto [u, s, v] = torch::linalg_svd(sum, false);
  const at::Tensor best = u.narrow(1, 0, 2).mul(s.narrow(0, 0, 2)).mm(v.narrow(0, 0, 2));
  CHECK(svd.config().r == 2);
  CHECK(distance(delta_of(q->lora("sum")), best) < 1e-5);
  svd.detach();

  // dare's mask of an embedding falls on its rows, as they lie in the file.
  options = {"dare_linear_svd", {1, -0.5}, 0.5, 16, false, 9};
  auto dare = load(lora::combine(table, {&one, &two}, options));
  const at::Tensor masked = lora::combine_tensors("dare_linear", {delta_of(table.embedding->lora("one")).t().contiguous()}, {1}, 0.5, false,
                                                  at::detail::createCPUGenerator(9));
  CHECK(distance(delta_of(table.embedding->lora("sum")), masked.t()) < 1e-5);
  dare.detach();

  options = {"ties", {1, 1}, 0.5};
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { lora::combine(table, {&one, &two}, options); }), "one rank"));
  options = {"cat", {1}, std::nullopt};
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { lora::combine(table, {&one, &two}, options); }), "weights"));
  options = {"cat", {1, 1}, 0.5};
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { lora::combine(table, {&one, &two}, options); }), "density"));
  options = {"ties", {1, 1}, 1.5};
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { lora::combine(table, {&one, &two}, options); }), "at most 1"));
  options = {"ties", {1, 1}, std::nullopt};
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { lora::combine(table, {&one, &two}, options); }), "density"));
}
