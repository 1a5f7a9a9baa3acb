// Adapters on the parameters of a mixture's experts.
#include "fixture.h"
#include "lowrank/formats/gguf_read.h"
#include "lowrank/lora/export_gguf.h"
#include "lowrank/lora/merge.h"
#include "lowrank/lora/merged_values.h"
#include "lowrank/lora/peft_by_expert.h"
#include "lowrank/lora/update_norms.h"

using namespace lora_test;
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kExperts = 3;

/// Two layers, of which each has one linear layer and two parameters of experts, as the files' tensors hold them.
lora::SlotTable mixture() {
  torch::manual_seed(5);
  lora::SlotTable table;
  for (int i = 0; i < 2; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    table.slots.push_back(linear_slot(layer + "self_attn.q_proj", torch::randn({16, 16}) * 0.2));
    const auto add = [&](const std::string& parameter, std::vector<std::string> parts, std::int64_t out, std::int64_t in) {
      lora::ExpertsBase base;
      base.owner = layer + "mlp.experts";
      base.parameter = parameter;
      base.parts = std::move(parts);
      const at::Tensor weight = torch::randn({kExperts, out, in}) * 0.2;
      base.weight = kernels::ExpertsWeight::stacked(weight, false);
      for (std::int64_t e = 0; e < kExperts; ++e) base.stored.push_back({{base.owner + "." + parameter, e, false, out}});
      base.own = {{parameter, weight}};
      table.experts.push_back(std::make_shared<lora::ExpertsSlotImpl>(std::move(base)));
    };
    add("gate_up_proj", {"gate_proj", "up_proj"}, 24, 16);
    add("down_proj", {"down_proj"}, 16, 12);
  }
  table.converts_expert_targets = true;
  table.own_spelling = "mlp";
  table.older_spelling = "block_sparse_moe";
  table.layers = 2;
  table.base_name = "tiny/mixture";
  return table;
}

lora::Adapter adapter_on(const lora::SlotTable& table, std::vector<std::pair<std::string, std::int64_t>> ranks = {},
                         std::vector<std::pair<std::string, double>> alphas = {}) {
  lora::LoraConfig config;
  config.r = 4;
  config.lora_alpha = 6;
  config.target_modules = std::vector<std::string>{"q_proj"};
  config.target_parameters = {"experts.gate_up_proj", "experts.down_proj"};
  config.rank_pattern = std::move(ranks);
  config.alpha_pattern = std::move(alphas);
  const lora::Adapter adapter = lora::attach(table, config);
  shake(adapter);
  return adapter;
}

/// s·B A of each expert.
at::Tensor updates_of(const lora::ExpertsSlot& slot) {
  std::vector<at::Tensor> updates;
  for (std::int64_t e = 0; e < kExperts; ++e) {
    const lora::LoraMatrices own = lora::matrices_of(slot->lora(), kExperts, e, 0, slot->weight().out_features());
    updates.push_back(own.b.matmul(own.a) * own.scale);
  }
  return torch::stack(updates);
}

}  // namespace

TEST_CASE("an adapter on experts is the same in the form of one pair an expert, and what that cannot say is refused", "[unit]") {
  const auto table = mixture(), other = mixture();
  const auto adapter = adapter_on(table, {{"down_proj", 2}}, {{"q_proj", 3}});
  lowrank_test::TempDir dir;
  lora::save_by_expert(adapter, table, at::kFloat, dir.path());
  const auto names = formats::SafetensorsFile::open(dir / "adapter_model.safetensors");
  CHECK(names->find("base_model.model.model.layers.1.block_sparse_moe.experts.2.up_proj.lora_B.weight")->shape == std::vector<std::int64_t>{12, 4});
  const auto back = lora::load_peft(other, dir.path());
  REQUIRE(back.experts().size() == 4);
  for (std::size_t i = 0; i < 4; ++i) CHECK(far(updates_of(back.experts()[i]), updates_of(adapter.experts()[i])) < 1e-5);
  for (std::size_t i = 0; i < 2; ++i) CHECK(far(back.slots()[i]->delta_weight(), adapter.slots()[i]->delta_weight()) < 1e-5);

  const std::string lost = "base_model.model.model.layers.1.block_sparse_moe.experts.2.up_proj.lora_";
  for (const auto& halves : {std::vector<std::string>{"A"}, std::vector<std::string>{"B"}, std::vector<std::string>{"A", "B"}}) {
    lowrank_test::TempDir less;
    lora::save_by_expert(adapter, table, at::kFloat, less.path());
    rewrite(less.path(), [&](auto& tensors) {
      for (const std::string& half : halves) tensors.erase(lost + half + ".weight");
    });
    const auto bare = mixture();
    CHECK(contains(message_of(ErrorKind::kModel, [&] { lora::load_peft(bare, less.path()); }), "missing"));
  }
  rewrite(dir.path(), [&](auto& tensors) { tensors[lost + "B.weight"] = torch::zeros({12, 5}); });
  const auto bare = mixture();
  CHECK(contains(message_of(ErrorKind::kModel, [&] { lora::load_peft(bare, dir.path()); }), "is not of shape [12, 4]"));

  const auto uneven = [&](std::vector<std::pair<std::string, std::int64_t>> ranks, std::vector<std::pair<std::string, double>> alphas) {
    const auto own = mixture();
    const auto refused = adapter_on(own, std::move(ranks), std::move(alphas));
    lowrank_test::TempDir out;
    return message_of(ErrorKind::kConfig, [&] { lora::save_by_expert(refused, own, at::kFloat, out.path()); });
  };
  CHECK(contains(uneven({{"layers.1.mlp.experts.gate_up_proj", 2}}, {{"layers.1.mlp.experts.gate_up_proj", 6}}), "another rank or scale"));
  CHECK(contains(uneven({}, {{"layers.1.mlp.experts.gate_up_proj", 2}}), "another rank or scale"));
  CHECK(contains(uneven({{"layers.0.mlp.experts.down_proj", 2}}, {}), "another rank or scale"));
}

TEST_CASE("a parameter of experts that there is not is answered with the nearest", "[unit]") {
  const auto table = mixture();
  lora::LoraConfig config;
  config.target_modules = std::vector<std::string>{"q_proj"};
  config.target_parameters = {"experts.gate_up_prj"};
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { lora::attach(table, config); }), "did you mean 'experts.gate_up_proj'"));
}

TEST_CASE("the update of experts is merged into the tensor of them all, and measured together", "[unit]") {
  const auto table = mixture();
  const auto adapter = adapter_on(table);
  lowrank_test::TempDir dir;
  fs::create_directories(dir / "model");
  std::vector<formats::TensorToWrite> tensors;
  for (const auto& slot : table.slots) tensors.push_back(formats::tensor_to_write(slot->path() + ".weight", weight_of(slot)));
  for (const auto& slot : table.experts) tensors.push_back(formats::tensor_to_write(slot->path(), slot->base().own[0].tensor));
  formats::write_safetensors(dir / "model" / "model.safetensors", std::move(tensors));
  lowrank_test::write_text(dir / "model" / "config.json", "{}");
  CHECK(lora::merge_files(dir / "model", adapter, dir / "out").changed == 6);
  lora::verify_merge(dir / "model", adapter, dir / "out");
  const auto merged = formats::WeightFiles::open(dir / "out");
  const auto plan = lora::plan_merge(dir / "model", adapter);
  for (const auto& [name, change] : plan.changed) {
    const auto& source = plan.source(name);
    const std::int64_t rows = lora::value_rows(source, change);
    CHECK(same_bytes(lora::merged_values(source, change, 0, rows).view(source.info->shape), formats::tensor_view(*merged.find(name))));
  }
  const auto norms = lora::update_norms(adapter);
  REQUIRE(norms.size() == 6);
  for (std::size_t i = 0; i < 4; ++i) {
    const auto& slot = adapter.experts()[i];
    const at::Tensor base = slot->base().own[0].tensor, update = updates_of(slot);
    CHECK(far(formats::tensor_view(*merged.find(slot->path())) - base, update) < 1e-5);
    CHECK(norms[2 + i].path == slot->path());
    CHECK(norms[2 + i].delta == Approx(update.norm().item<double>()).epsilon(1e-5));
    CHECK(norms[2 + i].base == Approx(base.norm().item<double>()).epsilon(1e-5));
  }
}

TEST_CASE("a GGUF adapter has llama.cpp's names, order of rows and one alpha", "[unit]") {
  const auto table = mixture();
  const auto adapter = adapter_on(table, {}, {{"q_proj", 12}});
  lora::GgufLayout layout;
  layout.architecture = "llama";
  layout.permuted = true;
  layout.heads = 4;
  layout.kv_heads = 2;
  lowrank_test::TempDir dir;
  const std::vector<std::pair<at::ScalarType, std::uint32_t>> types = {{at::kFloat, 0}, {at::kHalf, 1}, {at::kBFloat16, 32}};
  for (const auto& [type, number] : types) {
    const auto said = lora::export_gguf(adapter, layout, type, "tiny", dir / "a.gguf");
    CHECK(said.modules == 2 + 2 * 3);
    CHECK(said.alpha == 6);
    CHECK(said.rescaled == 2);
    const auto file = formats::GgufFile::open(dir / "a.gguf");
    CHECK(std::get<std::uint32_t>(file.values().at("general.file_type")) == number);
    CHECK(std::get<float>(file.values().at("adapter.lora.alpha")) == 6);
    const auto values = [&](const std::string& name) {
      const auto* info = file.find(name);
      REQUIRE(info != nullptr);
      const auto bytes = file.bytes(*info);
      return torch::from_blob(const_cast<std::byte*>(bytes.data()), info->shape, type).clone().to(at::kFloat);
    };
    const auto& lora = adapter.at(adapter.slots()[0]);
    const at::Tensor b = values("blk.0.attn_q.weight.lora_b");
    for (std::int64_t row = 0; row < 16; ++row) {  // of 4 in a head: halves become neighbours
      const std::int64_t head = row / 4, in_head = row % 4, own = head * 4 + in_head % 2 * 2 + in_head / 2;
      CHECK(far(b[row], (lora.b.detach()[own] * 2).to(type).to(at::kFloat)) < 1e-6);
    }
    const auto& experts = adapter.experts()[2];
    for (std::int64_t e = 0; e < kExperts; ++e) {
      const auto up = lora::matrices_of(experts->lora(), kExperts, e, 12, 12);
      CHECK(far(values("blk.1.ffn_up_exps.weight.lora_a")[e], up.a.to(type).to(at::kFloat)) < 1e-6);
      CHECK(far(values("blk.1.ffn_up_exps.weight.lora_b")[e], up.b.to(type).to(at::kFloat)) < 1e-6);
    }
    CHECK(file.find("blk.1.ffn_down_exps.weight.lora_b")->shape == std::vector<std::int64_t>{kExperts, 16, 4});
  }

  CHECK(layout.tensor_of("model.layers.11.mlp.shared_expert.up_proj") == "blk.11.ffn_up_shexp.weight");
  CHECK(layout.tensor_of("transformer.h.2.mlp.c_fc") == "blk.2.ffn_up.weight");
  CHECK(layout.tensor_of("transformer.wpe") == "position_embd.weight");
  CHECK(layout.tensor_of("model.layers.x.mlp.up_proj").empty());
  CHECK(layout.tensor_of("model.layers.0.mlp.other_proj").empty());
  CHECK(layout.permuted_heads("model.layers.0.self_attn.k_proj") == 2);
  CHECK(layout.permuted_heads("model.layers.0.self_attn.v_proj") == 0);
  CHECK(layout.expert_tensors_of("model.layers.0.mlp.up_proj").empty());
  lora::LoraConfig dora;
  dora.use_dora = true;
  dora.target_modules = std::vector<std::string>{"q_proj"};
  const auto plain = tiny_llama();
  const auto magnitudes = lora::attach(plain, dora);
  CHECK(contains(message_of(ErrorKind::kModel, [&] { lora::export_gguf(magnitudes, layout, at::kFloat, "tiny", dir / "b.gguf"); }), "DoRA"));
}
