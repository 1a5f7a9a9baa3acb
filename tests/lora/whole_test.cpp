// What an adapter trains beside A and B of linear layers: whole modules, biases, the embedding.
#include "fixture.h"
#include "lowrank/lora/delta_scale.h"
#include "lowrank/lora/update_norms.h"

using namespace lora_test;
using lora::LoraConfig;
namespace fs = std::filesystem;

namespace {

LoraConfig config_of(std::vector<std::string> targets, std::vector<std::string> whole = {}) {
  LoraConfig config;
  config.r = 4;
  config.lora_alpha = 6;
  config.target_modules = std::move(targets);
  config.modules_to_save = std::move(whole);
  return config;
}

std::vector<std::string> names(const lora::Adapter& adapter) {
  std::vector<std::string> result;
  for (const auto& parameter : adapter.parameters()) result.push_back(parameter.name.substr(17));  // base_model.model.
  return result;
}

/// A table of one layer with a bias and one without.
lora::SlotTable biased() {
  torch::manual_seed(2);
  lora::SlotTable table;
  table.slots = {linear_slot("l.0.q_proj", torch::randn({6, 4}), torch::randn({6})),
                 linear_slot("l.0.k_proj", torch::randn({6, 4}), torch::randn({6})),
                 linear_slot("l.0.o_proj", torch::randn({4, 6}))};
  return table;
}

}  // namespace

TEST_CASE("whole modules begin as the base, are trained apart from it, and go with the adapter", "[unit]") {
  auto table = tiny_llama(at::kBFloat16);
  const auto down = slot_named(table, "model.layers.0.mlp.down_proj");
  const at::Tensor x = torch::randn({5, 24}).to(at::kBFloat16), ids = torch::tensor({3, 0, 31, 3}, torch::kLong);
  const at::Tensor y = down->forward(x), rows = table.embedding->forward(ids, at::kBFloat16);
  auto adapter = lora::attach(table, config_of({"q_proj"}, {"embed_tokens", "0.mlp.down_proj", "model.norm"}));
  CHECK(names(adapter).size() == 6 + 3);
  CHECK(names(adapter)[6] == "model.embed_tokens.weight");
  CHECK(names(adapter)[8] == "model.norm.weight");
  CHECK(same_bytes(down->forward(x).detach(), y));
  CHECK(same_bytes(table.embedding->forward(ids, at::kBFloat16).detach(), rows));
  for (const auto& parameter : adapter.parameters()) {
    CHECK(parameter.tensor.scalar_type() == at::kFloat);
    CHECK(parameter.tensor.is_leaf());
    CHECK(parameter.tensor.requires_grad());
  }
  shake(adapter);
  const at::Tensor weight = adapter.at_whole("model.layers.0.mlp.down_proj")[0].tensor;
  const at::Tensor moved = down->forward(x.to(at::kFloat));
  CHECK(at::allclose(moved, x.to(at::kFloat).matmul(weight.t()), 1e-5, 1e-5));
  moved.sum().backward();
  CHECK(at::allclose(weight.grad(), torch::ones({16, 5}).matmul(x.to(at::kFloat)), 1e-5, 1e-5));
  table.embedding->forward(ids, at::kFloat).sum().backward();
  const at::Tensor gradient = adapter.at_whole("model.embed_tokens")[0].tensor.grad();
  CHECK(gradient[3].sum().item<float>() == 2 * 16);
  CHECK(gradient.sum().item<float>() == 4 * 16);
  CHECK(table.embedding->trains());
  CHECK(down->trains());
  const auto norms = lora::update_norms(adapter);
  REQUIRE(norms.size() == 3 + 3);
  CHECK(norms[3].path == "model.embed_tokens");
  CHECK(norms[5].path == "model.norm");
  const at::Tensor own = weight_of(down).to(at::kFloat);
  CHECK(norms[4].delta == Approx((weight.detach() - own).norm().item<double>()).epsilon(1e-5));
  CHECK(norms[4].base == Approx(own.norm().item<double>()).epsilon(1e-5));

  adapter.set_enabled(false);
  CHECK(same_bytes(down->forward(x), y));
  CHECK_FALSE(down->trains());
  CHECK_FALSE(table.embedding->trains());
  adapter.set_enabled(true);
  CHECK_FALSE(same_bytes(down->forward(x).detach(), y));
  const auto second = lora::attach(table, config_of({"q_proj"}, {"down_proj"}), 1, "second");
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { down->forward(x); }),
                 "'default' and 'second' both bring a weight"));
  adapter.detach();
  CHECK_NOTHROW(down->forward(x));
  CHECK(same_bytes(table.embedding->forward(ids, at::kBFloat16), rows));
}

TEST_CASE("an adapter on the embedding adds s·(B A)ᵀ to its rows", "[unit]") {
  auto table = tiny_llama();
  const at::Tensor ids = torch::tensor({3, 0, 31, 3}, torch::kLong);
  const at::Tensor before = table.embedding->forward(ids, at::kFloat);
  auto adapter = lora::attach(table, config_of({"q_proj", "embed_tokens"}));
  CHECK(names(adapter)[0] == "model.embed_tokens.lora_embedding_A");
  CHECK(names(adapter)[1] == "model.embed_tokens.lora_embedding_B");
  lora::LoraMatrices& lora = table.embedding->lora();
  CHECK(lora.a.abs().sum().item<float>() == 0);
  CHECK(lora.b.std().item<float>() == Approx(1).margin(0.3));
  CHECK(same_bytes(table.embedding->forward(ids, at::kFloat).detach(), before));
  shake(adapter);
  const at::Tensor dense = weight_of(table.embedding->base()) + lora.b.matmul(lora.a).t() * 1.5;
  const at::Tensor rows = table.embedding->forward(ids, at::kFloat);
  CHECK(at::allclose(rows, dense.index_select(0, ids), 1e-5, 1e-5));
  const at::Tensor upstream = torch::randn({4, 16});
  rows.mul(upstream).sum().backward();
  const at::Tensor da = lora.a.grad().clone(), db = lora.b.grad().clone();
  lora.a.mutable_grad() = lora.b.mutable_grad() = at::Tensor();
  dense.index_select(0, ids).mul(upstream).sum().backward();
  CHECK(at::allclose(da, lora.a.grad(), 1e-5, 1e-5));
  CHECK(at::allclose(db, lora.b.grad(), 1e-5, 1e-5));

  CHECK(table.embedding->trains());
  const auto norms = lora::update_norms(adapter);
  REQUIRE(norms.size() == 4);
  CHECK(norms[3].path == "model.embed_tokens");
  CHECK(norms[3].delta ==
        Approx((dense.detach() - weight_of(table.embedding->base())).norm().item<double>()).epsilon(1e-5));
  {
    lora::DeltaScale half(adapter);
    half.set(0.5);
    CHECK(at::allclose(table.embedding->forward(ids, at::kFloat) * 2, rows + before, 1e-5, 1e-5));
  }
  CHECK(at::equal(table.embedding->forward(ids, at::kFloat), rows));
}

TEST_CASE("biases are trained as copies, under PEFT's names", "[unit]") {
  auto table = biased();
  LoraConfig config = config_of({"q_proj", "o_proj"});
  config.bias = "all";
  const at::Tensor x = torch::randn({3, 4}), before = table.slots[0]->base().bias().clone();
  auto adapter = lora::attach(table, config);
  CHECK(names(adapter) == std::vector<std::string>{"l.0.q_proj.lora_A.weight", "l.0.q_proj.lora_B.weight",
                                                   "l.0.o_proj.lora_A.weight", "l.0.o_proj.lora_B.weight",
                                                   "l.0.q_proj.base_layer.bias", "l.0.k_proj.bias"});
  shake(adapter);
  for (const auto& slot : {table.slots[0], table.slots[1]}) {
    const at::Tensor bias = adapter.at_whole(slot->path())[0].tensor;
    at::Tensor expected = x.matmul(weight_of(slot).t()) + bias;
    if (slot->adapted()) expected = expected + x.matmul(slot->lora().a.t()).matmul(slot->lora().b.t()) * 1.5;
    CHECK(at::allclose(slot->forward(x), expected, 1e-5, 1e-5));
    slot->forward(x).sum().backward();
    CHECK(at::allclose(bias.grad(), torch::full({6}, 3.0)));
  }
  table.slots[0]->merge();
  {
    const torch::NoGradGuard no_grad;
    const at::Tensor bias = adapter.at_whole("l.0.q_proj")[0].tensor;
    CHECK(at::allclose(table.slots[0]->forward(x) - bias,
                       x.matmul((weight_of(table.slots[0]) + table.slots[0]->delta_weight()).t()), 1e-5, 1e-5));
  }
  CHECK(same_bytes(table.slots[0]->base().bias(), before));

  auto other = biased();
  config.bias = "lora_only";
  CHECK(names(lora::attach(other, config)).back() == "l.0.q_proj.base_layer.bias");
  other = biased();
  config.target_modules = std::vector<std::string>{"o_proj"};
  CHECK(names(lora::attach(other, config)) == names(lora::attach(biased(), config_of({"o_proj"}))));  // as in PEFT: none of them has one
}

TEST_CASE("what cannot be trained beside A and B is refused by name", "[unit]") {
  const auto refused = [](LoraConfig config) {
    const auto table = tiny_llama();
    const std::string message = message_of(ErrorKind::kConfig, [&] { lora::attach(table, config); });
    for (const auto& slot : table.slots) CHECK_FALSE(slot->adapted());
    CHECK_FALSE(table.embedding->adapted());
    return message;
  };
  CHECK(contains(refused(config_of({"q_proj"}, {"lm_hed"})),
                 "modules_to_save: no module's path ends in 'lm_hed', did you mean 'lm_head'?"));
  CHECK(contains(refused(config_of({"q_proj", "k_proj"}, {"q_proj"})),
                 "target_modules and modules_to_save both name 'q_proj'"));
  CHECK(contains(refused(config_of({"q_proj"}, {"proj"})),
                 "modules_to_save takes in model.layers.0.self_attn.q_proj by the end"));
  CHECK(contains(refused(config_of({"lm_head"}, {"lm_head", "norm"})), "both name 'lm_head'"));
  CHECK(contains(refused(config_of({"embed_token"})), "did you mean 'embed_tokens'?"));
  LoraConfig config = config_of({"q_proj", "embed_tokens"});
  config.lora_bias = true;
  CHECK(contains(refused(config), "PEFT has no bias on an embedding"));
  config.lora_bias = false;
  config.init_lora_weights = "pissa";
  CHECK(contains(refused(config), "the matrices on model.embed_tokens begin by 'default' or 'gaussian' only"));

  // all-linear leaves out what is saved whole, and the embedding.
  auto table = tiny_llama();
  config = LoraConfig();
  config.modules_to_save = {"q_proj", "lm_head"};
  const auto adapter = lora::attach(table, config);
  CHECK(adapter.slots().size() == 18);
  CHECK_FALSE(adapter.adapts_embedding());
  lora::Adapter copies = adapter;
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { lora::DeltaScale scale(copies); }), "cannot be scaled"));
}

TEST_CASE("whole modules, biases and the embedding come back from their files", "[unit]") {
  lowrank_test::TempDir dir;
  auto table = tiny_llama();
  auto adapter = lora::attach(table, config_of({"q_proj", "embed_tokens"}, {"lm_head", "norm"}));
  shake(adapter);
  lora::save_peft(adapter, dir.path());
  CHECK(lora::peft_bytes(adapter) == fs::file_size(dir / "adapter_model.safetensors"));
  const auto back = [&](std::vector<std::string>* notes = nullptr) {
    const auto fresh = tiny_llama();
    lora::Adapter loaded = lora::load_peft(fresh, dir.path(), notes);
    REQUIRE(names(loaded) == names(adapter));
    for (std::size_t i = 0; i < names(adapter).size(); ++i)
      CHECK(same_bytes(loaded.parameters()[i].tensor.detach(), adapter.parameters()[i].tensor.detach()));
  };
  back();

  // PEFT saves the weight of an adapted embedding too.
  const std::string redundant = "base_model.model.model.embed_tokens.base_layer.weight";
  rewrite(dir.path(), [&](auto& tensors) { tensors[redundant] = weight_of(table.embedding->base()).clone(); });
  std::vector<std::string> notes;
  back(&notes);
  REQUIRE(notes.size() == 1);
  CHECK(contains(notes[0], "is a copy of the base's own tensor"));
  const auto fails = [&] {
    const auto fresh = tiny_llama();
    return message_of(ErrorKind::kModel, [&] { lora::load_peft(fresh, dir.path()); });
  };
  rewrite(dir.path(), [&](auto& tensors) { tensors[redundant][3][3] += 1; });
  CHECK(contains(fails(), "is not this model's model.embed_tokens"));
  rewrite(dir.path(), [&](auto& tensors) {
    tensors.erase(redundant);
    tensors["base_model.model.model.layers.0.mlp.up_proj.weight"] = torch::zeros({24, 16});
  });
  CHECK(contains(fails(), "modules_to_save and bias in adapter_config.json do not ask for it"));
  rewrite(dir.path(), [&](auto& tensors) {
    tensors.erase("base_model.model.model.layers.0.mlp.up_proj.weight");
    tensors.erase("base_model.model.lm_head.weight");
  });
  CHECK(contains(fails(), "'base_model.model.lm_head.weight' is missing, although modules_to_save asks for it"));

  // Names that this model does not have are PEFT's own addition for classifiers.
  rewrite(dir.path(), [&](auto& tensors) { tensors["base_model.model.lm_head.weight"] = torch::zeros({32, 16}); });
  auto json = nlohmann::ordered_json::parse(lowrank_test::read_text(dir / "adapter_config.json"));
  json["modules_to_save"] = {"classifier", "lm_head", "norm"};
  lowrank_test::write_text(dir / "adapter_config.json", json.dump());
  const auto fresh = tiny_llama();
  CHECK(lora::load_peft(fresh, dir.path()).whole().size() == 8);
}
