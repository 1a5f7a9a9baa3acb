#include "lowrank/lora/merge.h"

#include "fixture.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/merge_plan.h"

using namespace lora_test;
namespace fs = std::filesystem;

namespace {

struct Model {
  lowrank_test::TempDir dir;
  lora::SlotTable table = tiny_llama(at::kBFloat16);
  fs::path path() const { return dir / "model"; }
};

formats::TensorToWrite tensor(const std::string& name, const at::Tensor& value) {
  return formats::tensor_to_write(name, value);
}

// The table's weights in two shards, with the files that lie beside them in a Hugging Face folder.
void write_model(const Model& model, bool with_head = true, bool tied = false) {
  fs::create_directories(model.path());
  std::vector<formats::TensorToWrite> shards[2];
  nlohmann::ordered_json map;
  const auto put = [&](int shard, const std::string& name, const at::Tensor& value) {
    shards[shard].push_back(tensor(name, value));
    map[name] = shard == 0 ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors";
  };
  torch::manual_seed(3);
  put(0, "model.embed_tokens.weight", torch::randn({32, 16}).to(at::kBFloat16));
  for (const auto& slot : model.table.slots)
    if (slot->path() != "lm_head" || with_head)
      put(slot->path().find("layers.0") == std::string::npos, slot->path() + ".weight", weight_of(slot));
  put(1, "model.norm.weight", torch::randn({16}));
  formats::write_safetensors(model.path() / "model-00001-of-00002.safetensors", std::move(shards[0]),
                             {{"format", "pt"}, {"by", "x"}});
  formats::write_safetensors(model.path() / "model-00002-of-00002.safetensors", std::move(shards[1]));
  lowrank_test::write_text(model.path() / "model.safetensors.index.json",
                           nlohmann::ordered_json{{"metadata", {{"total_size", 1}}}, {"weight_map", map}}.dump(2));
  for (const char* name :
       {"generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "chat_template.jinja", "vocab.json", "merges.txt", "README.md", "pytorch_model.bin", "code.py"})
    lowrank_test::write_text(model.path() / name, std::string("content of ") + name);
  lowrank_test::write_text(model.path() / "config.json", tied ? R"({"tie_word_embeddings": true})" : "{}");
}

lora::Adapter adapter_for(const lora::SlotTable& table, std::vector<std::string> targets) {
  lora::LoraConfig config;
  config.r = 4;
  config.lora_alpha = 6;
  config.target_modules = std::move(targets);
  auto adapter = lora::attach(table, config);
  randomise(adapter);
  return adapter;
}

}  // namespace

TEST_CASE("a merge changes the adapted weights, each rounded once, and nothing else", "[unit]") {
  Model model;
  write_model(model);
  auto adapter = adapter_for(model.table, {"q_proj", "down_proj"});
  const fs::path out = model.dir / "merged";
  const auto report = lora::merge_files(model.path(), adapter, out);
  CHECK(report.tensors == 24);
  CHECK(report.changed == 6);
  CHECK(report.elements > 0);
  CHECK_NOTHROW(lora::verify_merge(model.path(), adapter, out));

  const auto before = formats::WeightFiles::open(model.path()), after = formats::WeightFiles::open(out);
  REQUIRE(before.names() == after.names());
  std::uint64_t bytes = 0;
  for (const std::string& name : after.names()) bytes += after.find(name)->bytes().size();
  CHECK(lora::plan_merge(model.path(), adapter).bytes == bytes);
  adapter.merge();
  int changed = 0;
  for (const std::string& name : before.names()) {
    const at::Tensor x = formats::tensor_view(*before.find(name)), y = formats::tensor_view(*after.find(name));
    CHECK(before.find(name)->file->path().filename() == after.find(name)->file->path().filename());
    const bool adapted = name.find("q_proj") != std::string::npos || name.find("down_proj") != std::string::npos;
    CHECK(same_bytes(x, y) == !adapted);
    if (!adapted) continue;
    ++changed;
    const auto slot = slot_named(model.table, name.substr(0, name.size() - 7));
    CHECK(same_bytes(y, (x.to(at::kFloat) + slot->delta_weight()).to(at::kBFloat16)));
    // The usual way of computing it agrees up to where a sum lies on the edge of two bf16 numbers.
    const at::Tensor usual =
        (x.to(at::kFloat) + slot->lora().b.matmul(slot->lora().a).detach() * 1.5).to(at::kBFloat16);
    CHECK(at::allclose(y.to(at::kFloat), usual.to(at::kFloat), 0.01, 1e-6));
  }
  CHECK(changed == 6);
  CHECK(after.files()[0]->header().metadata.at("by") == "x");
  CHECK(lowrank_test::read_text(out / "model.safetensors.index.json") ==
        lowrank_test::read_text(model.path() / "model.safetensors.index.json"));
  for (const char* name : {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
                           "special_tokens_map.json", "chat_template.jinja", "vocab.json", "merges.txt"})
    CHECK(lowrank_test::read_text(out / name) == lowrank_test::read_text(model.path() / name));
  for (const char* name : {"README.md", "pytorch_model.bin", "code.py"}) CHECK_FALSE(fs::exists(out / name));
}

TEST_CASE("a merge into another type rounds the sum once, converts the rest, and says so", "[unit]") {
  Model model;
  write_model(model);
  const auto adapter = adapter_for(model.table, {"q_proj", "down_proj"});
  const auto before = formats::WeightFiles::open(model.path());
  const std::vector<std::pair<formats::DType, const char*>> types = {
      {formats::DType::kF32, "float32"}, {formats::DType::kF16, "float16"}, {formats::DType::kBF16, "bfloat16"}};
  for (const auto& [type, name] : types) {
    INFO(name);
    const fs::path out = model.dir / name;
    const auto report = lora::merge_files(model.path(), adapter, out, nullptr, nullptr, type);
    CHECK(report.changed == 6);
    CHECK_NOTHROW(lora::verify_merge(model.path(), adapter, out, nullptr, type));
    const auto after = formats::WeightFiles::open(out);
    REQUIRE(before.names() == after.names());
    std::int64_t more = 0;
    for (const std::string& each : before.names()) {
      INFO(each);
      at::Tensor expected = formats::tensor_view(*before.find(each)).to(at::kFloat);
      const bool adapted = each.find("q_proj") != std::string::npos || each.find("down_proj") != std::string::npos;
      if (adapted) expected = expected + slot_named(model.table, each.substr(0, each.size() - 7))->delta_weight();
      CHECK(same_bytes(formats::tensor_view(*after.find(each)), expected.to(formats::to_torch(type))));
      more += static_cast<std::int64_t>(after.find(each)->bytes().size()) - static_cast<std::int64_t>(before.find(each)->bytes().size());
    }
    CHECK(nlohmann::ordered_json::parse(lowrank_test::read_text(out / "config.json"))["dtype"] == name);
    CHECK(nlohmann::ordered_json::parse(lowrank_test::read_text(out / "model.safetensors.index.json"))["metadata"]["total_size"] == 1 + more);
  }
  CHECK(contains(message_of(ErrorKind::kModel, [&] { lora::verify_merge(model.path(), adapter, model.dir / "float16"); }), "another type"));
}

TEST_CASE("verify_merge finds one bit", "[unit]") {
  Model model;
  write_model(model);
  const auto adapter = adapter_for(model.table, {"q_proj"});
  const fs::path out = model.dir / "merged";
  lora::merge_files(model.path(), adapter, out);
  const auto flip = [&](const std::string& name, std::uint64_t byte) {
    fs::path file;
    std::uint64_t at = 0;
    {
      const auto files = formats::WeightFiles::open(out);
      const auto* entry = files.find(name);
      file = entry->file->path();
      at = entry->file->header().data_start + entry->info->begin + byte;
    }
    std::string bytes = lowrank_test::read_text(file);
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    lowrank_test::write_text(file, bytes);
  };
  const auto message = [&] {
    return message_of(ErrorKind::kModel, [&] { lora::verify_merge(model.path(), adapter, out); });
  };
  flip("model.layers.2.self_attn.q_proj.weight", 2 * 37);
  CHECK(contains(message(), "element 37 of 'model.layers.2.self_attn.q_proj.weight' is"));
  flip("model.layers.2.self_attn.q_proj.weight", 2 * 37);
  CHECK_NOTHROW(lora::verify_merge(model.path(), adapter, out));
  flip("model.norm.weight", 4 * 5 + 1);
  CHECK(contains(message(), "element 5 of 'model.norm.weight' is not the base model's"));
  flip("model.norm.weight", 4 * 5 + 1);
  adapter.slots()[0]->lora();
  adapter.slots()[0]->lora().scale *= 2;
  CHECK(contains(message(), "element"));
}

TEST_CASE("a single fp32 file is merged too", "[unit]") {
  lowrank_test::TempDir dir;
  const auto table = tiny_llama(at::kFloat);
  std::vector<formats::TensorToWrite> tensors;
  for (const auto& slot : table.slots) tensors.push_back(tensor(slot->path() + ".weight", weight_of(slot)));
  fs::create_directories(dir / "m");
  formats::write_safetensors(dir / "m" / "model.safetensors", std::move(tensors));
  const auto adapter = adapter_for(table, {"lm_head", "k_proj"});
  const auto report = lora::merge_files(dir / "m", adapter, dir / "out");
  CHECK(report.files == std::vector<std::string>{"model.safetensors"});
  CHECK(report.bytes == fs::file_size(dir / "out" / "model.safetensors"));
  lora::verify_merge(dir / "m", adapter, dir / "out");
}

TEST_CASE("merges that cannot be are refused before anything is written", "[unit]") {
  Model model;
  write_model(model);
  const auto adapter = adapter_for(model.table, {"q_proj"});
  const auto refused = [&](const fs::path& out) {
    return message_of(ErrorKind::kConfig, [&] { lora::merge_files(model.path(), adapter, out); });
  };
  CHECK(contains(refused(model.path()), "itself the model's folder"));
  CHECK(contains(refused(model.path() / ""), "itself the model's folder"));
  CHECK(contains(refused(model.path() / "sub" / "merged"), "inside the model's folder"));
  CHECK(contains(refused(model.path() / ".." / "model" / "x"), "inside the model's folder"));
  fs::create_directory_symlink(model.path(), model.dir / "link");
  CHECK(contains(refused(model.dir / "link" / "x"), "inside the model's folder"));

  lowrank_test::TempDir saved;
  lora::save_peft(adapter, saved.path());
  const auto again = tiny_llama(at::kBFloat16);
  const auto loaded = lora::load_peft(again, saved.path());
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { lora::merge_files(model.path(), loaded, saved / "x"); }),
                 "inside the adapter's folder"));
  CHECK_NOTHROW(lora::merge_files(model.path(), loaded, model.dir / "model-merged"));
  CHECK_THROWS_AS(lora::merge_files(model.path(), loaded, model.dir / "model-merged"), Error);  // it exists
}

TEST_CASE("a tied head parts from the embedding when one of them is changed", "[unit]") {
  const std::string embedding = "model.embed_tokens.weight", head = "lm_head.weight";
  for (const char* target : {"lm_head", "embed_tokens"})
    for (const bool with_head : {false, true}) {
      INFO(target << (with_head ? ", the head is stored" : ""));
      Model model;
      write_model(model, with_head, true);
      const auto adapter = adapter_for(model.table, {"q_proj", target});
      if (adapter.adapts_embedding()) {
        const torch::NoGradGuard no_grad;
        at::Tensor(adapter.embedding()->lora().a).normal_(0, 0.5);
      }
      const fs::path out = model.dir / "out";
      const auto report = lora::merge_files(model.path(), adapter, out);
      CHECK(report.untied);
      CHECK(report.tensors == 24);
      CHECK(report.changed == 4);
      lora::verify_merge(model.path(), adapter, out);
      CHECK(nlohmann::ordered_json::parse(lowrank_test::read_text(out / "config.json"))["tie_word_embeddings"] == false);

      const auto before = formats::WeightFiles::open(model.path()), after = formats::WeightFiles::open(out);
      const auto tensor_in = [](const formats::WeightFiles& files, const std::string& name) {
        return formats::tensor_view(*files.find(name)).to(at::kFloat);
      };
      const at::Tensor tied = tensor_in(before, with_head && std::string(target) == "lm_head" ? head : embedding);
      const bool on_head = std::string(target) == "lm_head";
      const at::Tensor delta = on_head ? slot_named(model.table, "lm_head")->delta_weight()
                                       : adapter.embedding()->lora().b.matmul(adapter.embedding()->lora().a).t() * 1.5;
      CHECK(at::allclose(tensor_in(after, on_head ? head : embedding), tied + delta, 0.01, 1e-6));
      const std::string other = on_head ? embedding : head;
      CHECK(same_bytes(tensor_in(after, other), tensor_in(before, on_head || with_head ? other : embedding)));
      const auto index = nlohmann::ordered_json::parse(lowrank_test::read_text(out / "model.safetensors.index.json"));
      CHECK(index["weight_map"][head] ==
            (with_head ? "model-00002-of-00002.safetensors" : "model-00001-of-00002.safetensors"));
      CHECK(index["metadata"]["total_size"] == (with_head ? 1 : 1 + 32 * 16 * 2));
    }
}

TEST_CASE("trained copies take the place of their tensors, rounded once", "[unit]") {
  Model model;
  write_model(model);
  lora::LoraConfig config;
  config.r = 4;
  config.target_modules = std::vector<std::string>{"q_proj"};
  config.modules_to_save = {"lm_head", "model.norm", "0.mlp.down_proj"};
  const auto adapter = lora::attach(model.table, config);
  for (const auto& parameter : adapter.parameters()) {
    const torch::NoGradGuard no_grad;
    at::Tensor(parameter.tensor).add_(torch::randn_like(parameter.tensor) * 0.3);
  }
  const fs::path out = model.dir / "out";
  const auto report = lora::merge_files(model.path(), adapter, out);
  CHECK(report.changed == 6);
  CHECK_FALSE(report.untied);
  lora::verify_merge(model.path(), adapter, out);
  const auto after = formats::WeightFiles::open(out);
  for (const char* path : {"lm_head", "model.norm", "model.layers.0.mlp.down_proj"}) {
    const auto& entry = *after.find(std::string(path) + ".weight");
    const at::Tensor found = formats::tensor_view(entry);
    CHECK(same_bytes(found, adapter.at_whole(path)[0].tensor.detach().to(found.scalar_type())));
  }
  {
    const torch::NoGradGuard no_grad;
    at::Tensor(adapter.at_whole("model.norm")[0].tensor)[5].mul_(2);
  }
  CHECK(contains(message_of(ErrorKind::kModel, [&] { lora::verify_merge(model.path(), adapter, out); }),
                 "element 5 of 'model.norm.weight' is"));
}

TEST_CASE("a sum that overflows is refused and nothing is left", "[unit]") {
  lowrank_test::TempDir dir;
  fs::create_directories(dir / "m");
  lora::SlotTable table;
  table.slots.push_back(linear_slot("head.fc", torch::full({4, 4}, 65000.0).to(at::kHalf)));
  formats::write_safetensors(dir / "m" / "model.safetensors", {tensor("head.fc.weight", weight_of(table.slots[0]))});
  const auto adapter = adapter_for(table, {"fc"});
  {
    const torch::NoGradGuard no_grad;
    at::Tensor(adapter.slots()[0]->lora().a).fill_(100);
    at::Tensor(adapter.slots()[0]->lora().b).fill_(100);
  }
  CHECK(contains(message_of(ErrorKind::kModel, [&] { lora::merge_files(dir / "m", adapter, dir / "out"); }),
                 "merging head.fc.weight gives values that are not finite in F16"));
  CHECK(std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator()) == 1);
}
