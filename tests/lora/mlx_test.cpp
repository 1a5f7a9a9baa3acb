#include "lowrank/lora/mlx_adapter.h"

#include "fixture.h"
#include "lowrank/core/json.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/mlx_names.h"

using namespace lora_test;
namespace fs = std::filesystem;

namespace {

// The "plain" golden as mlx-lm would have it.
void write_mlx(const fs::path& folder, const std::function<void(nlohmann::ordered_json&)>& change = {},
               const std::string& left_out = "", const std::string& nested = "") {
  const auto file = formats::SafetensorsFile::open(golden_adapter("plain") / "adapter_model.safetensors");
  std::vector<formats::TensorToWrite> tensors;
  for (const auto& info : file->header().tensors) {
    std::string name = info.name.substr(std::string("base_model.model.").size());
    name = name.substr(0, name.size() - std::string("A.weight").size()) + (info.name.find("lora_A") != std::string::npos ? "a" : "b");
    at::Tensor value = formats::tensor_view(file, info).t().contiguous();
    if (name == nested) value = value.unsqueeze(0);
    if (name != left_out) tensors.push_back(formats::tensor_to_write(name, value));
  }
  formats::write_safetensors(folder / "adapters.safetensors", std::move(tensors));
  nlohmann::ordered_json config = {{"fine_tune_type", "lora"}, {"model", "tiny/llama"}, {"num_layers", 3},
                           {"lora_parameters", {{"rank", 4}, {"scale", 2.0}, {"dropout", 0.0}}}};
  if (change) change(config);
  lowrank_test::write_text(folder / "adapter_config.json", config.dump());
}

}  // namespace

TEST_CASE("an adapter of mlx-lm is PEFT's, turned", "[unit]") {
  lowrank_test::TempDir dir;
  write_mlx(dir.path());
  CHECK(lora::is_mlx_adapter(dir.path()));
  CHECK_FALSE(lora::is_mlx_adapter(golden_adapter("plain")));
  CHECK(lora::read_adapter_config(dir.path()).r == 4);
  const auto table = tiny_llama(), other = tiny_llama();
  std::vector<std::string> notes;
  const auto mine = lora::load_peft(table, dir.path(), &notes);
  REQUIRE(notes.size() == 1);
  CHECK(contains(notes[0], "mlx-lm"));
  const auto theirs = lora::load_peft(other, golden_adapter("plain"));
  REQUIRE(paths(mine.slots()) == paths(theirs.slots()));
  for (std::size_t i = 0; i < mine.slots().size(); ++i)
    CHECK(mine.slots()[i]->delta_weight().equal(theirs.slots()[i]->delta_weight()));
  lowrank_test::TempDir saved;
  lora::save_peft(mine, saved.path());
  CHECK(lowrank_test::read_text(saved / "adapter_model.safetensors") ==
        lowrank_test::read_text(golden_adapter("plain") / "adapter_model.safetensors"));
}

TEST_CASE("what of mlx-lm's adapters cannot be read is said", "[unit]") {
  const auto message = [](ErrorKind kind, const std::function<void(nlohmann::ordered_json&)>& change, const std::string& left_out = "",
                          const std::string& nested = "") {
    lowrank_test::TempDir dir;
    write_mlx(dir.path(), change, left_out, nested);
    const auto table = tiny_llama();
    return message_of(kind, [&] { lora::load_peft(table, dir.path()); });
  };
  CHECK(contains(message(ErrorKind::kFormat, [](auto& c) { c["fine_tune_type"] = "full"; }), "mlx_lm.fuse"));
  CHECK(contains(message(ErrorKind::kFormat, [](auto& c) { c["lora_parameters"].erase("scale"); }), "scale is missing"));
  CHECK(contains(message(ErrorKind::kModel, {}, "model.layers.1.self_attn.q_proj.lora_b"), "has no lora_b beside it"));
  CHECK(contains(message(ErrorKind::kModel, {}, "", "model.layers.1.self_attn.q_proj.lora_b"), "must both be matrices"));
}

TEST_CASE("mlx-lm has names of its own for some models, and others not at all", "[unit]") {
  CHECK(lora::mlx_name("model.layers.0.self_attn.q_proj") == "model.layers.0.self_attn.q_proj");
  CHECK(lora::mlx_name("transformer.h.3.attn.c_attn") == "model.h.3.attn.c_attn");
  CHECK(lora::mlx_name("gpt_neox.layers.3.attention.dense") == "model.h.3.attention.dense");
  CHECK(lora::mlx_name("gpt_neox.embed_in") == "model.embed_in");
  CHECK(lora::mlx_name("embed_out") == "model.embed_out");
  CHECK(lora::mlx_name("model.language_model.layers.1.mlp.up_proj") == "language_model.model.layers.1.mlp.up_proj");
  CHECK(contains(message_of(ErrorKind::kModel, [] { lora::mlx_name("model.decoder.layers.0.fc1"); }), "merge the adapter"));
}
