// Exported adapters say what the adapter says: read back by the formats' own rules, s·BA is the same for every layer.
#include "lowrank/recipes/export.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/from_blob.h>

#include <bit>
#include <cstring>
#include <map>

#include "catch.h"
#include "lowrank/core/json.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/models/load.h"
#include "lowrank/recipes/finetune.h"
#include "small_run.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

/// A GGUF file by the format's description: scalar values as numbers, texts, and tensors in fp32.
struct Gguf {
  explicit Gguf(const fs::path& file) : bytes(read_text(file)) {
    REQUIRE(bytes.substr(0, 4) == "GGUF");
    at = 4;
    REQUIRE(number<std::uint32_t>() == 3);
    const auto count = number<std::uint64_t>(), values = number<std::uint64_t>();
    for (std::uint64_t i = 0; i < values; ++i) {
      const std::string key = text();
      switch (number<std::uint32_t>()) {
        case 4: numbers[key] = number<std::uint32_t>(); break;
        case 6: numbers[key] = std::bit_cast<float>(number<std::uint32_t>()); break;
        case 8: texts[key] = text(); break;
        case 9:
          REQUIRE(number<std::uint32_t>() == 4);
          for (auto left = number<std::uint64_t>(); left > 0; --left) lists[key].push_back(number<std::uint32_t>());
          break;
        default: FAIL("a type of value that an adapter has no use for");
      }
    }
    struct Info {
      std::string name;
      std::vector<std::int64_t> shape;
      std::uint32_t type;
      std::uint64_t offset;
    };
    std::vector<Info> infos;
    for (std::uint64_t i = 0; i < count; ++i) {
      Info info{text(), std::vector<std::int64_t>(number<std::uint32_t>()), 0, 0};
      for (auto extent = info.shape.rbegin(); extent != info.shape.rend(); ++extent)
        *extent = static_cast<std::int64_t>(number<std::uint64_t>());
      info.type = number<std::uint32_t>();
      info.offset = number<std::uint64_t>();
      CHECK(info.offset % 32 == 0);
      infos.push_back(info);
    }
    at = (at + 31) / 32 * 32;
    for (const Info& info : infos) {
      const at::ScalarType type = info.type == 0 ? at::kFloat : info.type == 1 ? at::kHalf : at::kBFloat16;
      tensors[info.name] =
          at::from_blob(bytes.data() + at + info.offset, info.shape, at::TensorOptions().dtype(type)).to(at::kFloat).clone();
    }
  }
  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof(T));
    at += sizeof(T);
    return value;
  }
  std::string text() {
    const auto size = number<std::uint64_t>();
    at += size;
    return bytes.substr(at - size, size);
  }
  /// What llama.cpp adds to the weight of this name.
  at::Tensor delta(const std::string& tensor) const {
    const at::Tensor &a = tensors.at(tensor + ".lora_a"), &b = tensors.at(tensor + ".lora_b");
    return b.mm(a).mul(numbers.at("adapter.lora.alpha") / static_cast<double>(b.size(1)));
  }

  std::string bytes;
  std::size_t at = 0;
  std::map<std::string, double> numbers;
  std::map<std::string, std::string> texts;
  std::map<std::string, std::vector<std::uint32_t>> lists;
  std::map<std::string, at::Tensor> tensors;
};

recipes::FinetuneSpec trained(const fs::path& out) {
  recipes::FinetuneSpec spec = small_spec(out);
  spec.train.max_steps = 3;
  spec.train.lr = 0.01;
  spec.samples = 0;
  return spec;
}

/// llama.cpp's order of the rows of q and k, back to Hugging Face's.
at::Tensor halves(const at::Tensor& rows, std::int64_t heads) {
  const std::int64_t half = rows.size(0) / heads / 2;
  return rows.reshape({heads, half, 2, rows.size(1)}).transpose(1, 2).reshape(rows.sizes());
}

}  // namespace

TEST_CASE("a GGUF adapter says what the adapter says, patterns and rsLoRA folded in", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  Silent silent;
  recipes::FinetuneSpec spec = trained(folder / "run");
  spec.adapter.rslora = true;
  spec.adapter.rank_pattern = {"v_proj=2"};
  spec.adapter.alpha_pattern = {"layers.1.mlp.up_proj=40"};
  recipes::finetune(spec, silent);

  recipes::ExportSpec asked;
  asked.adapter = (folder / "run").string();
  asked.format = "gguf";
  asked.out = (folder / "a.gguf").string();
  const recipes::ExportResult result = recipes::export_adapter(asked, silent);
  CHECK(result.json.at("rescaled").get<int>() == 6);  // v_proj of five layers, and one up_proj
  const Gguf file(folder / "a.gguf");
  CHECK(file.texts.at("general.type") == "adapter");
  CHECK(file.texts.at("general.architecture") == "llama");
  CHECK(file.texts.at("adapter.type") == "lora");

  const models::LoadedModel model = models::load(spec.model);
  const lora::Adapter adapter = lora::load_peft(model.decoder->slot_table(), folder / "run");
  const std::map<std::string, std::string> names = {{"self_attn.q_proj", "attn_q"}, {"self_attn.k_proj", "attn_k"},
                                                    {"self_attn.v_proj", "attn_v"}, {"self_attn.o_proj", "attn_output"},
                                                    {"mlp.gate_proj", "ffn_gate"},  {"mlp.up_proj", "ffn_up"},
                                                    {"mlp.down_proj", "ffn_down"}};
  CHECK(file.tensors.size() == 2 * adapter.slots().size());
  const core::Json config = core::read_json(fs::path(spec.model) / "config.json");
  for (const lora::LinearSlot& slot : adapter.slots()) {
    const std::string rest = slot->path().substr(std::string("model.layers.").size());
    const std::string kind = rest.substr(rest.find('.') + 1);
    at::Tensor delta = file.delta("blk." + rest.substr(0, rest.find('.')) + "." + names.at(kind) + ".weight");
    if (kind == "self_attn.q_proj") delta = halves(delta, config.at("num_attention_heads").get<std::int64_t>());
    if (kind == "self_attn.k_proj") delta = halves(delta, config.at("num_key_value_heads").get<std::int64_t>());
    INFO(slot->path());
    CHECK(at::allclose(delta, slot->delta_weight(adapter.name()), 1e-5, 1e-7));
    CHECK(delta.abs().max().item<float>() > 1e-5);
  }

  CHECK_THROWS_WITH(recipes::export_adapter(asked, silent), Catch::Matchers::Contains("already exists"));
  asked.overwrite = true;
  asked.dtype = "bfloat16";
  recipes::export_adapter(asked, silent);
  CHECK(Gguf(folder / "a.gguf").numbers.at("general.file_type") == 32);
}

TEST_CASE("what a GGUF adapter cannot hold is refused by its name, and nothing is written", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  Silent silent;
  recipes::ExportSpec asked;
  asked.format = "gguf";
  asked.out = (folder / "a.gguf").string();
  {
    recipes::FinetuneSpec spec = trained(folder / "dora");
    spec.adapter.dora = true;
    recipes::finetune(spec, silent);
    asked.adapter = spec.run.out;
    CHECK_THROWS_WITH(recipes::export_adapter(asked, silent), Catch::Matchers::Contains("DoRA's magnitudes"));
  }
  {
    recipes::FinetuneSpec spec = trained(folder / "norms");
    spec.adapter.modules_to_save = "model.norm";
    recipes::finetune(spec, silent);
    asked.adapter = spec.run.out;
    CHECK_THROWS_WITH(recipes::export_adapter(asked, silent), Catch::Matchers::Contains("a trained copy of model.norm"));
  }
  {
    recipes::FinetuneSpec spec = trained(folder / "head");  // of a base that ties it
    spec.adapter.targets = "lm_head";
    recipes::finetune(spec, silent);
    asked.adapter = spec.run.out;
    recipes::ExportSpec mlx = asked;
    mlx.format = "mlx";
    mlx.out = (folder / "mlx").string();
    for (const recipes::ExportSpec& one : {asked, mlx})
      CHECK_THROWS_WITH(recipes::export_adapter(one, silent),
                        Catch::Matchers::Contains("the head lm_head, which the base ties to its embedding"));
    CHECK_FALSE(fs::exists(folder / "mlx"));
  }
  {
    recipes::FinetuneSpec spec = trained(folder / "embedding");  // of a base that ties it
    spec.adapter.targets = "q_proj,embed_tokens";
    recipes::finetune(spec, silent);
    asked.adapter = spec.run.out;
    CHECK_THROWS_WITH(recipes::export_adapter(asked, silent),
                      Catch::Matchers::Contains("the embedding model.embed_tokens, which the base ties to its head"));
    recipes::ExportSpec mlx = asked;
    mlx.format = "mlx";
    mlx.out = (folder / "mlx").string();
    CHECK_THROWS_WITH(recipes::export_adapter(mlx, silent), Catch::Matchers::Contains("mlx-lm would apply them to the head too"));
    // Trained for both it is what mlx-lm has.
    core::Json config = core::read_json(fs::path(asked.adapter) / "adapter_config.json");
    config["ensure_weight_tying"] = true;
    fs::copy(asked.adapter, folder / "tied", fs::copy_options::recursive);
    write_text(folder / "tied" / "adapter_config.json", config.dump());
    mlx.adapter = (folder / "tied").string();
    recipes::export_adapter(mlx, silent);
    const auto weights = formats::SafetensorsFile::open(folder / "mlx" / "adapters.safetensors");
    CHECK(weights->find("model.embed_tokens.lora_a")->shape == std::vector<std::int64_t>{512, 4});
    CHECK(weights->find("lm_head.lora_a") == nullptr);
  }
  CHECK_FALSE(fs::exists(folder / "a.gguf"));
}

TEST_CASE("an activated LoRA takes its invocation into a GGUF file, and is refused where it would act everywhere", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  Silent silent;
  const recipes::FinetuneSpec spec = trained(folder / "run");
  recipes::finetune(spec, silent);
  core::Json config = core::read_json(folder / "run" / "adapter_config.json");
  config["alora_invocation_tokens"] = {410, 411};
  write_text(folder / "run" / "adapter_config.json", config.dump());
  recipes::ExportSpec asked;
  asked.adapter = (folder / "run").string();
  asked.format = "gguf";
  asked.out = (folder / "a.gguf").string();
  recipes::export_adapter(asked, silent);
  CHECK(Gguf(folder / "a.gguf").lists.at("adapter.alora.invocation_tokens") == std::vector<std::uint32_t>{410, 411});
  asked.format = "mlx";
  asked.out = (folder / "mlx").string();
  CHECK_THROWS_WITH(recipes::export_adapter(asked, silent), Catch::Matchers::Contains("alora_invocation_tokens"));
  asked.format = "peft";
  asked.out = (folder / "peft").string();
  recipes::export_adapter(asked, silent);
  CHECK(core::read_json(folder / "peft" / "adapter_config.json")["alora_invocation_tokens"] == core::Json({410, 411}));
}

TEST_CASE("an mlx-lm adapter has one rank and one scale, and says the same", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  Silent silent;
  recipes::FinetuneSpec spec = trained(folder / "run");
  spec.adapter.rank_pattern = {"v_proj=2"};
  recipes::finetune(spec, silent);
  recipes::ExportSpec asked;
  asked.adapter = (folder / "run").string();
  asked.format = "mlx";
  asked.out = (folder / "mlx").string();
  recipes::export_adapter(asked, silent);

  const core::Json config = core::read_json(folder / "mlx" / "adapter_config.json");
  CHECK(config.at("fine_tune_type") == "lora");
  CHECK(config.at("num_layers") == 5);
  CHECK(config.at("lora_parameters").at("rank") == 4);
  const double scale = config.at("lora_parameters").at("scale").get<double>();
  const auto weights = formats::SafetensorsFile::open(folder / "mlx" / "adapters.safetensors");
  const models::LoadedModel model = models::load(spec.model);
  const lora::Adapter adapter = lora::load_peft(model.decoder->slot_table(), folder / "run");
  for (const lora::LinearSlot& slot : adapter.slots()) {
    const at::Tensor a = formats::tensor_view(weights, *weights->find(slot->path() + ".lora_a"));
    const at::Tensor b = formats::tensor_view(weights, *weights->find(slot->path() + ".lora_b"));
    CHECK(a.size(1) == 4);
    CHECK(at::allclose(a.mm(b).t().mul(scale), slot->delta_weight(adapter.name()), 1e-5, 1e-7));
  }
}

TEST_CASE("PEFT in half precision is the adapter rounded once", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  Silent silent;
  recipes::finetune(trained(folder / "run"), silent);
  recipes::ExportSpec asked;
  asked.adapter = (folder / "run").string();
  asked.format = "peft";
  asked.dtype = "bfloat16";
  asked.out = (folder / "half").string();
  recipes::export_adapter(asked, silent);
  const auto full = formats::SafetensorsFile::open(folder / "run" / "adapter_model.safetensors");
  const auto half = formats::SafetensorsFile::open(folder / "half" / "adapter_model.safetensors");
  REQUIRE(full->header().tensors.size() == half->header().tensors.size());
  for (const formats::TensorInfo& info : half->header().tensors) {
    CHECK(info.dtype == formats::DType::kBF16);
    CHECK(formats::tensor_view(half, info).equal(formats::tensor_view(full, *full->find(info.name)).to(at::kBFloat16)));
  }
}
