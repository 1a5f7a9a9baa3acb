// Layers that the files keep transposed, or as rows of a fused tensor, under names of their own: as GPT-2 does.
#include "fixture.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/delta.h"
#include "lowrank/lora/merge.h"

using namespace lora_test;
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kIn = 1100, kOut = 1000;  // more than one block of a merge
constexpr std::int64_t kQ = 10, kK = 6, kRest = 4, kWidth = 8;

// The files' tensors by name, and slots over them.
struct Model {
  lowrank_test::TempDir dir;
  std::map<std::string, at::Tensor> files;
  lora::SlotTable table;
  fs::path path() const { return dir / "model"; }

  explicit Model(at::ScalarType dtype = at::kFloat) {
    torch::manual_seed(31);
    const auto file = [&](const std::string& name, at::IntArrayRef shape) {
      return files[name] = (torch::randn(shape) * 0.2).to(dtype);
    };
    const at::Tensor conv = file("h.0.attn.c_attn.weight", {kIn, kOut}), bias = file("h.0.attn.c_attn.bias", {kOut});
    const at::Tensor fused = file("fused.weight", {kQ + kK + kRest, kWidth});
    const at::Tensor tokens = file("wte.weight", {32, kWidth}), norm = file("ln_f.weight", {kWidth});
    const auto add = [&](const std::string& name, kernels::BaseWeight base, lora::StoredWeight stored) {
      table.slots.push_back(std::make_shared<lora::LinearSlotImpl>(name, std::move(base), std::move(stored)));
    };
    add("transformer.h.0.attn.c_attn", kernels::BaseWeight::dense(conv, bias, {.transposed = true}),
        {.tensor = "h.0.attn.c_attn.weight", .bias = "h.0.attn.c_attn.bias"});
    add("transformer.q", kernels::BaseWeight::dense(fused, {}, {.row_begin = 0, .rows = kQ}),
        {.tensor = "fused.weight", .of_rows = kQ + kK + kRest});
    add("transformer.k", kernels::BaseWeight::dense(fused, {}, {.row_begin = kQ, .rows = kK}),
        {.tensor = "fused.weight", .row_begin = kQ, .of_rows = kQ + kK + kRest});
    add("lm_head", kernels::BaseWeight::dense(tokens), {});
    table.embedding = std::make_shared<lora::EmbeddingSlotImpl>("transformer.wte", kernels::BaseWeight::dense(tokens),
                                                                lora::StoredWeight{.tensor = "wte.weight"});
    table.whole.push_back(std::make_shared<lora::WholeModuleImpl>("transformer.ln_f",
                                                                  std::vector<lora::NamedTensor>{{"weight", norm}},
                                                                  lora::StoredWeight{.tensor = "ln_f.weight"}));
    table.head = "lm_head";
    table.others = {"transformer.wte", "transformer.ln_f"};
    fs::create_directories(path());
    std::vector<formats::TensorToWrite> tensors;
    for (const auto& [name, value] : files) tensors.push_back(formats::tensor_to_write(name, value));
    formats::write_safetensors(path() / "model.safetensors", std::move(tensors));
    lowrank_test::write_text(path() / "config.json", R"({"tie_word_embeddings": true})");
  }
};

lora::Adapter adapter_on(const lora::SlotTable& table, std::vector<std::string> targets, bool dora,
                         std::vector<std::string> saved = {}) {
  lora::LoraConfig config;
  config.r = 4;
  config.lora_alpha = 6;
  config.use_dora = dora;
  config.target_modules = std::move(targets);
  config.modules_to_save = std::move(saved);
  auto adapter = lora::attach(table, config);
  randomise(adapter);
  return adapter;
}

at::Tensor merged_weight(const lora::LinearSlot& slot) {
  return lora::merged_rows(weight_of(slot), slot->lora(), 0, slot->base().out_features());
}

at::Tensor stored_in(const fs::path& folder, const std::string& name) {
  const auto weights = formats::WeightFiles::open(folder);
  return formats::tensor_view(*weights.find(name)).clone();
}

}  // namespace

TEST_CASE("a transposed tensor is merged transposed, and rows of a fused one alone change", "[unit]") {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const bool dora : {false, true}) {
      INFO(c10::toString(dtype) << ", DoRA " << dora);
      const Model model(dtype);
      const auto adapter = adapter_on(model.table, {"c_attn", "q", "k"}, dora, {"ln_f"});
      at::Tensor(adapter.at_whole("transformer.ln_f")[0].tensor).detach().add_(1);
      const fs::path out = model.dir / "out";
      CHECK(lora::merge_files(model.path(), adapter, out).changed == 3);
      lora::verify_merge(model.path(), adapter, out);

      const at::Tensor conv = stored_in(out, "h.0.attn.c_attn.weight");
      CHECK(same_bytes(conv, merged_weight(adapter.slots()[0]).t()));
      const at::Tensor fused = stored_in(out, "fused.weight");
      CHECK(same_bytes(fused.slice(0, 0, kQ), merged_weight(adapter.slots()[1])));
      CHECK(same_bytes(fused.slice(0, kQ, kQ + kK), merged_weight(adapter.slots()[2])));
      CHECK(same_bytes(fused.slice(0, kQ + kK), model.files.at("fused.weight").slice(0, kQ + kK)));
      CHECK(same_bytes(stored_in(out, "ln_f.weight"), adapter.at_whole("transformer.ln_f")[0].tensor.to(dtype)));
      CHECK(same_bytes(stored_in(out, "wte.weight"), model.files.at("wte.weight")));
      CHECK(same_bytes(stored_in(out, "h.0.attn.c_attn.bias"), model.files.at("h.0.attn.c_attn.bias")));

      // What the slot computes with its adapter is what the merged file gives.
      const torch::NoGradGuard no_grad;
      const at::Tensor x = torch::randn({5, kIn}).to(dtype);
      const lora::LinearSlot slot = adapter.slots()[0];
      const at::Tensor expected = torch::linear(x, conv.t(), model.files.at("h.0.attn.c_attn.bias"));
      const double bound = dtype == at::kFloat ? 1e-4 : 0.1;
      CHECK(at::allclose(slot->forward(x), expected, bound, bound));
      slot->merge();
      CHECK(at::allclose(slot->forward(x), expected, bound, bound));
    }
  }
}

TEST_CASE("an embedding and a tied head part under the names that the files have", "[unit]") {
  const Model model;
  const auto adapter = adapter_on(model.table, {"lm_head"}, false);
  const auto report = lora::merge_files(model.path(), adapter, model.dir / "out");
  CHECK(report.untied);
  lora::verify_merge(model.path(), adapter, model.dir / "out");
  CHECK(same_bytes(stored_in(model.dir / "out", "wte.weight"), model.files.at("wte.weight")));
  CHECK(same_bytes(stored_in(model.dir / "out", "lm_head.weight"), merged_weight(adapter.slots()[0])));

  const Model other;
  const auto rows = adapter_on(other.table, {"wte"}, false);
  const torch::NoGradGuard no_grad;
  at::Tensor(rows.embedding()->lora().a).normal_();
  lora::merge_files(other.path(), rows, other.dir / "out");
  const at::Tensor delta = rows.embedding()->lora().b.matmul(rows.embedding()->lora().a).t() * 1.5;
  CHECK(at::allclose(stored_in(other.dir / "out", "wte.weight"), other.files.at("wte.weight") + delta, 1e-5, 1e-5));
  CHECK(same_bytes(stored_in(other.dir / "out", "lm_head.weight"), other.files.at("wte.weight")));
}

TEST_CASE("a trained copy of a transposed layer has its layout, in use, in the file and merged", "[unit]") {
  const Model model;
  const auto adapter = adapter_on(model.table, {"q"}, false, {"c_attn"});
  const lora::NamedTensor copy = adapter.at_whole("transformer.h.0.attn.c_attn")[0];
  CHECK(copy.tensor.sizes() == at::IntArrayRef{kIn, kOut});
  copy.tensor.detach().mul_(2);
  const torch::NoGradGuard no_grad;
  const at::Tensor x = torch::randn({3, kIn});
  const at::Tensor weight = model.files.at("h.0.attn.c_attn.weight"), bias = model.files.at("h.0.attn.c_attn.bias");
  CHECK(
      at::allclose(lora::LinearSlot(model.table.slots[0])->forward(x), torch::addmm(bias, x, weight * 2), 1e-4, 1e-4));
  lora::merge_files(model.path(), adapter, model.dir / "out");
  CHECK(same_bytes(stored_in(model.dir / "out", "h.0.attn.c_attn.weight"), weight * 2));
}

TEST_CASE("fan_in_fan_out is written as PEFT leaves it, and read as it means it", "[unit]") {
  const Model model;
  auto conv = adapter_on(model.table, {"c_attn"}, false);
  CHECK(conv.config().fan_in_fan_out);
  lowrank_test::TempDir dir;
  lora::save_peft(conv, dir.path());
  conv.detach();
  std::vector<std::string> notes;
  auto back = lora::load_peft(model.table, dir.path(), &notes);
  CHECK(notes.empty());
  CHECK(back.config().fan_in_fan_out);
  back.detach();
  CHECK_FALSE(adapter_on(model.table, {"c_attn", "q"}, false).config().fan_in_fan_out);  // the last layer decides
}

TEST_CASE("what the files do not hold in the family's shape is named", "[unit]") {
  Model model;
  model.table.slots[2] = std::make_shared<lora::LinearSlotImpl>(
      "transformer.k", kernels::BaseWeight::dense(torch::randn({kK, kWidth})),
      lora::StoredWeight{.tensor = "fused.weight", .row_begin = kQ, .of_rows = kQ + kK});
  const auto adapter = adapter_on(model.table, {"k"}, false);
  const std::string message =
      message_of(ErrorKind::kModel, [&] { lora::merge_files(model.path(), adapter, model.dir / "out"); });
  CHECK(contains(message, "'fused.weight' is not [16, 8]"));
}

TEST_CASE("two modules that are the same rows of a tensor are not merged one over the other", "[unit]") {
  for (const std::int64_t begin : {kQ - 1, kQ + kK - 1, kQ + kK}) {
    Model model;
    const at::Tensor fused = model.files.at("fused.weight");
    const std::int64_t rows = kQ + kK + kRest - begin;
    model.table.slots[1] = std::make_shared<lora::LinearSlotImpl>(
        "transformer.q", kernels::BaseWeight::dense(fused, {}, {.row_begin = begin, .rows = rows}),
        lora::StoredWeight{.tensor = "fused.weight", .row_begin = begin, .of_rows = kQ + kK + kRest});
    const auto adapter = adapter_on(model.table, {"q", "k"}, false);
    if (begin < kQ + kK) {
      CHECK(contains(message_of(ErrorKind::kInternal, [&] { lora::merge_files(model.path(), adapter, model.dir / "out"); }), "the same rows"));
    } else {
      CHECK_NOTHROW(lora::merge_files(model.path(), adapter, model.dir / "out"));
    }
  }
}
