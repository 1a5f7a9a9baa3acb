// Adapters on some tokens alone, and on a head that is tied to its embedding.
#include "fixture.h"
#include "lowrank/lora/active_tokens.h"
#include "lowrank/lora/delta.h"
#include "lowrank/lora/merge.h"
#include "lowrank/lora/tying.h"

using namespace lora_test;
namespace fs = std::filesystem;

namespace {

lora::LoraConfig targeting(std::vector<std::string> targets) {
  lora::LoraConfig config;
  config.r = 4;
  config.lora_alpha = 6;
  config.target_modules = std::move(targets);
  return config;
}

}  // namespace

TEST_CASE("rows of single tokens take the place of the base's, in the model and in merged files", "[unit]") {
  const auto table = tiny_llama();
  lora::LoraConfig config = targeting({"q_proj"});
  config.trainable_token_indices = {{"embed_tokens", {30, 3}}};
  const auto adapter = lora::attach(table, config);
  shake(adapter);
  REQUIRE(adapter.token_rows().size() == 1);
  const at::Tensor rows = adapter.token_rows()[0].rows.values.detach();
  at::Tensor expected = weight_of(table.embedding->base()).clone();
  expected[30].copy_(rows[0]);
  expected[3].copy_(rows[1]);
  CHECK(same_bytes(table.embedding->forward(torch::arange(32), at::kFloat).detach(), expected));
  CHECK(table.embedding->trains());

  lowrank_test::TempDir dir;
  fs::create_directories(dir / "model");
  std::vector<formats::TensorToWrite> tensors;
  for (const auto& slot : table.slots) tensors.push_back(formats::tensor_to_write(slot->path() + ".weight", weight_of(slot)));
  tensors.push_back(formats::tensor_to_write("model.embed_tokens.weight", weight_of(table.embedding->base())));
  formats::write_safetensors(dir / "model" / "model.safetensors", std::move(tensors));
  lowrank_test::write_text(dir / "model" / "config.json", "{}");
  lora::merge_files(dir / "model", adapter, dir / "out");
  lora::verify_merge(dir / "model", adapter, dir / "out");
  const auto merged = formats::WeightFiles::open(dir / "out");
  CHECK(same_bytes(formats::tensor_view(*merged.find("model.embed_tokens.weight")), expected));

  lowrank_test::TempDir saved;
  lora::save_peft(adapter, saved.path());
  const auto fresh = tiny_llama();
  lora::load_peft(fresh, saved.path());
  CHECK(same_bytes(fresh.embedding->forward(torch::arange(32), at::kFloat).detach(), expected));
}

TEST_CASE("a tied head shares what is trained of the embedding where that is asked for", "[unit]") {
  auto table = tiny_llama();
  const auto asked = [&](lora::LoraConfig config) {
    config.ensure_weight_tying = true;
    return lora::asks_for(config, table);
  };
  CHECK(asked(targeting({"lm_head"})) == lora::Tied::kNothing);  // it is not tied
  table.tied = true;
  CHECK(lora::asks_for(targeting({"lm_head"}), table) == lora::Tied::kNothing);
  CHECK(asked(targeting({"q_proj", "lm_head"})) == lora::Tied::kMatrices);
  CHECK(asked(targeting({"model.embed_tokens"})) == lora::Tied::kMatrices);
  CHECK(asked(targeting({"q_proj"})) == lora::Tied::kNothing);
  CHECK(asked(targeting({"all-linear"})) == lora::Tied::kNothing);
  lora::LoraConfig config = targeting({});
  config.target_modules = ".*q_proj|lm_head";
  CHECK(asked(config) == lora::Tied::kMatrices);
  config.ensure_weight_tying = true;
  CHECK(std::get<1>(lora::with_tying(config, table).target_modules) == R"((?:.*q_proj|lm_head|^model\.embed_tokens$))");
  config = targeting({"q_proj"});
  config.modules_to_save = {"lm_head"};
  CHECK(asked(config) == lora::Tied::kCopies);
  config.ensure_weight_tying = true;
  CHECK(lora::with_tying(config, table).modules_to_save == std::vector<std::string>{"model.embed_tokens"});

  config = targeting({"q_proj", "lm_head"});
  config.ensure_weight_tying = true;
  CHECK(std::get<0>(lora::with_tying(config, table).target_modules) == std::vector<std::string>{"q_proj", "model.embed_tokens"});
  const auto head = slot_named(table, "lm_head");
  const at::Tensor x = torch::randn({5, 16}), before = head->forward(x);
  auto adapter = lora::attach(table, config);
  shake(adapter);
  CHECK(adapter.keeps_tied());
  CHECK(adapter.adapts_embedding());
  const lora::LoraMatrices& matrices = table.embedding->lora();
  CHECK(far(head->forward(x).detach(), before + x.matmul(matrices.b.detach()).matmul(matrices.a.detach()) * 1.5) < 1e-5);
  adapter.detach();
  CHECK(same_bytes(head->forward(x), before));
}

TEST_CASE("an activated LoRA acts on the tokens that are marked, and on layers inside of the model alone", "[unit]") {
  CHECK(lora::activated_from({7, 8}, {1, 7, 8, 2, 7, 8, 3}) == 4);
  CHECK(lora::activated_from({7, 8}, {7, 8}) == 0);
  CHECK(lora::activated_from({7, 8}, {1, 7}) == 2);
  CHECK(lora::activated_from({7, 8}, {8}) == 1);
  auto table = tiny_llama();
  const auto refused = [&](std::vector<std::string> targets) {
    lora::LoraConfig config = targeting(std::move(targets));
    config.alora_invocation_tokens = {7, 8};
    const auto bare = tiny_llama();
    return message_of(ErrorKind::kConfig, [&] { lora::attach(bare, config); });
  };
  CHECK(contains(refused({"q_proj", "lm_head"}), "inside the model alone"));
  CHECK(contains(refused({"q_proj", "embed_tokens"}), "inside the model alone"));
  CHECK(contains(refused({"q_proj"}), "in models that continue text"));

  table.activations = std::make_shared<lora::Activations>();
  lora::LoraConfig config = targeting({"q_proj"});
  config.alora_invocation_tokens = {7, 8};
  const auto slot = slot_named(table, "model.layers.0.self_attn.q_proj");
  const at::Tensor x = torch::randn({4, 16}), before = slot->forward(x);
  const auto adapter = lora::attach(table, config);
  shake(adapter);
  REQUIRE(table.activations->size() == 1);
  table.activations->front().lock()->mask = torch::tensor({0.0f, 0.0f, 1.0f, 1.0f}).view({4, 1});
  const at::Tensor after = slot->forward(x).detach();
  CHECK(far(after.narrow(0, 0, 2), before.narrow(0, 0, 2)) < 1e-6);
  CHECK(far(after.narrow(0, 2, 2), (before + x.matmul(slot->lora().a.t()).matmul(slot->lora().b.t()).detach() * 1.5).narrow(0, 2, 2)) < 1e-5);
}
