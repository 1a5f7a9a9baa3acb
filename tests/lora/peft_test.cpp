#include "fixture.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/adapter.h"

using namespace lora_test;
namespace fs = std::filesystem;

namespace {

using Tensors = std::map<std::string, at::Tensor>;

Tensors read(const fs::path& directory) {
  const auto file = formats::SafetensorsFile::open(directory / "adapter_model.safetensors");
  Tensors tensors;
  for (const auto& info : file->header().tensors) tensors[info.name] = formats::tensor_view(file, info).clone();
  return tensors;
}

void write(const fs::path& directory, const Tensors& tensors) {
  std::vector<formats::TensorToWrite> list;
  for (const auto& [name, tensor] : tensors) list.push_back(formats::tensor_to_write(name, tensor));
  formats::write_safetensors(directory / "adapter_model.safetensors", std::move(list));
}

// A copy of the "plain" golden with its tensors changed; the message of loading it.
template <typename F>
std::string broken(F change, ErrorKind kind = ErrorKind::kModel) {
  lowrank_test::TempDir more;
  fs::copy(golden_adapter("plain"), more.path(), fs::copy_options::recursive);
  auto json = nlohmann::ordered_json::parse(lowrank_test::read_text(more / "adapter_config.json"));
  json["target_modules"].push_back("absent_proj");
  lowrank_test::write_text(more / "adapter_config.json", json.dump());
  std::vector<std::string> notes;
  lora::load_peft(tiny_llama(), more.path(), &notes);
  REQUIRE(notes.size() == 1);
  CHECK(contains(notes[0], "target_modules names 'absent_proj', which this model does not have"));
  lowrank_test::TempDir dir;
  fs::copy(golden_adapter("plain") / "adapter_config.json", dir / "adapter_config.json");
  Tensors tensors = read(golden_adapter("plain"));
  change(tensors);
  write(dir.path(), tensors);
  const auto table = tiny_llama();
  const std::string message = message_of(kind, [&] { lora::load_peft(table, dir.path()); });
  for (const auto& slot : table.slots) CHECK_FALSE(slot->adapted());
  CHECK(contains(message, "adapter_model.safetensors: "));
  return message;
}

const std::string kQ0 = "base_model.model.model.layers.0.self_attn.q_proj.lora_";

}  // namespace

TEST_CASE("an adapter that PEFT wrote computes here what it does there", "[parity]") {
  const auto json = golden("slot.json");
  for (const std::string name : {"plain", "rich", "layers"}) {
    INFO(name);
    const auto table = tiny_llama();
    std::vector<std::string> notes;
    const auto adapter = lora::load_peft(table, golden_adapter(name), &notes);
    CHECK(notes.empty());
    CHECK(paths(adapter.slots()) == json[name]["modules"].get<std::vector<std::string>>());
    for (const auto& row : json[name]["layers"]) {
      const auto tensor = [&](const char* key) {
        const auto rows = row[key].get<std::vector<std::vector<float>>>();
        at::Tensor result =
            torch::empty({static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(rows[0].size())});
        for (std::size_t i = 0; i < rows.size(); ++i)
          result[static_cast<std::int64_t>(i)].copy_(torch::tensor(rows[i]));
        return result;
      };
      auto slot = slot_named(table, row["path"]);
      CHECK(slot->lora().scale == Approx(row["scale"].get<double>()).epsilon(1e-14));
      CHECK(slot->lora().a.requires_grad());
      weight_of(slot).copy_(tensor("weight"));
      slot->rebind();
      const torch::NoGradGuard no_grad;
      const at::Tensor x = tensor("x"), y = tensor("y");
      CHECK((slot->forward(x) - y).abs().max().item<double>() < 1e-5);
      slot->lora().scale *= 2;  // as a doubled lora_alpha would
      CHECK((slot->forward(x) - y).abs().max().item<double>() > 0.01);
    }
  }
}

TEST_CASE("what is loaded is saved byte for byte as PEFT wrote it", "[parity]") {
  for (const std::string name : {"plain", "rich", "layers"}) {
    INFO(name);
    const auto adapter = lora::load_peft(tiny_llama(), golden_adapter(name));
    lowrank_test::TempDir dir;
    lora::save_peft(adapter, dir.path());
    const std::string ours = lowrank_test::read_text(dir / "adapter_model.safetensors");
    CHECK(ours == lowrank_test::read_text(golden_adapter(name) / "adapter_model.safetensors"));
    CHECK(lora::peft_bytes(adapter) == ours.size());
    const auto theirs = nlohmann::ordered_json::parse(lowrank_test::read_text(golden_adapter(name) / "adapter_config.json"));
    const auto config = nlohmann::ordered_json::parse(lowrank_test::read_text(dir / "adapter_config.json"));
    for (const auto& item : config.items()) CHECK(theirs.at(item.key()) == item.value());
  }
}

TEST_CASE("an adapter made here is saved and loaded again, to the bit", "[unit]") {
  const auto table = tiny_llama();
  lora::LoraConfig config;
  config.r = 3;
  config.lora_dropout = 0.1;
  config.use_rslora = true;
  config.rank_pattern = {{"k_proj", 2}};
  config.layers_to_transform = {0, 2};
  auto adapter = lora::attach(table, config);
  randomise(adapter);
  lowrank_test::TempDir dir;
  lora::save_peft(adapter, dir.path());
  const auto other = tiny_llama();
  std::vector<std::string> notes;
  const auto back = lora::load_peft(other, dir.path(), &notes);
  CHECK(notes.empty());
  REQUIRE(paths(back.slots()) == paths(adapter.slots()));
  for (std::size_t i = 0; i < back.slots().size(); ++i) {
    const auto &x = adapter.slots()[i]->lora(), &y = back.slots()[i]->lora();
    CHECK(same_bytes(x.a.detach(), y.a.detach()));
    CHECK(same_bytes(x.b.detach(), y.b.detach()));
    CHECK(x.scale == y.scale);
    CHECK(x.dropout == y.dropout);
  }
  CHECK(back.directory() == dir.path());

  {
    const torch::NoGradGuard no_grad;
    at::Tensor(adapter.slots()[2]->lora().b)[0][0] = std::numeric_limits<float>::infinity();
  }
  lowrank_test::TempDir empty;
  CHECK(contains(message_of(ErrorKind::kModel, [&] { lora::save_peft(adapter, empty.path()); }), "not finite"));
  CHECK(fs::is_empty(empty.path()));
}

TEST_CASE("a malformed adapter file is refused with its own message", "[unit]") {
  CHECK(contains(broken([](Tensors& t) { t.erase(kQ0 + "B.weight"); }), kQ0 + "B.weight' is missing"));
  CHECK(contains(broken([](Tensors& t) {
                   t[kQ0 + "B.weigth"] = t[kQ0 + "B.weight"];
                   t.erase(kQ0 + "B.weight");
                 }),
                 "did you mean '" + kQ0 + "B.weight'?"));
  CHECK(contains(broken([](Tensors& t) {
                   auto node = t.extract(kQ0 + "A.weight");
                   node.key() = "base_model.model.model.layers.0.self_attn.q_prj.lora_A.weight";
                   t.insert(std::move(node));
                 }),
                 "did you mean '" + kQ0 + "A.weight'?"));
  CHECK(contains(broken([](Tensors& t) {
                   t["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"] = torch::zeros({4, 16});
                 }),
                 "target_modules in adapter_config.json does not take in 'model.layers.0.mlp.up_proj'"));
  CHECK(contains(broken([](Tensors& t) {
                   t["base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight"] = torch::zeros({4, 16});
                 }),
                 "this model has no linear module 'model.layers.3.self_attn.q_proj'"));
  CHECK(contains(broken([](Tensors& t) {
                   t["base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector"] = torch::zeros({16});
                 }),
                 "it is a magnitude of DoRA, but use_dora in adapter_config.json is false"));
  CHECK(contains(broken([](Tensors& t) {
                   t["base_model.model.lm_head.weight"] = torch::zeros({32, 16});
                 }),
                 "modules_to_save"));
  CHECK(contains(broken([](Tensors& t) {
                   t["base_model.model.model.embed_tokens.lora_embedding_A"] = torch::zeros({4, 32});
                 }),
                 "target_modules in adapter_config.json does not take in 'model.embed_tokens'"));
  CHECK(contains(broken([](Tensors& t) { t[kQ0 + "B.bias"] = torch::zeros({16}); }), "a bias of lora_B"));
  CHECK(contains(broken([](Tensors& t) {
                   t[kQ0 + "A.weight"] = torch::zeros({4, 12});
                 }),
                 "has shape [4, 12], expected [4, 16] for this model's model.layers.0.self_attn.q_proj"));
  CHECK(contains(broken([](Tensors& t) { t[kQ0 + "A.weight"] = torch::zeros({16}); }), "has shape [16]"));
  CHECK(contains(broken([](Tensors& t) {
                   t[kQ0 + "A.weight"] = torch::zeros({8, 16});
                 }),
                 "lora_A [8, 16] has rank 8 but lora_B [16, 4] has rank 4"));
  CHECK(contains(broken([](Tensors& t) {
                   t[kQ0 + "A.weight"] = torch::zeros({8, 16});
                   t[kQ0 + "B.weight"] = torch::zeros({16, 8});
                 }),
                 "so rank 8; adapter_config.json gives model.layers.0.self_attn.q_proj rank 4"));
  CHECK(contains(broken([](Tensors& t) { t[kQ0 + "A.weight"].fill_(std::nan("")); }), "not finite (NaN or infinity)"));
  CHECK(contains(broken([](Tensors& t) { t[kQ0 + "B.weight"][3][1] = INFINITY; }), "not finite (NaN or infinity)"));
  CHECK(contains(broken([](Tensors& t) { t[kQ0 + "A.weight"] = torch::zeros({4, 16}, at::kInt); }), "is of type I32"));
  CHECK(contains(broken([](Tensors& t) { t.clear(); }), "holds no tensors"));
}

TEST_CASE("an adapter for another base, and one without weights", "[unit]") {
  CHECK(contains(
      message_of(ErrorKind::kModel, [] { lora::load_peft(tiny_llama(at::kFloat, 2), golden_adapter("rich")); }),
      "the adapter was made for 'tiny/llama'"));
  CHECK(contains(message_of(ErrorKind::kModel,
                            [] {
                              lowrank_test::TempDir dir;
                              fs::copy(golden_adapter("layers"), dir.path(), fs::copy_options::recursive);
                              auto json = nlohmann::ordered_json::parse(lowrank_test::read_text(dir / "adapter_config.json"));
                              json["layers_to_transform"] = {1, 2, 9};
                              lowrank_test::write_text(dir / "adapter_config.json", json.dump());
                              lora::load_peft(tiny_llama(), dir.path());
                            }),
                 "layers_to_transform has 9, but this model's layers are 0 to 2"));
  lowrank_test::TempDir dir;
  fs::copy(golden_adapter("plain") / "adapter_config.json", dir / "adapter_config.json");
  CHECK(contains(message_of(ErrorKind::kMissing, [&] { lora::load_peft(tiny_llama(), dir.path()); }),
                 "which holds the adapter's weights"));
  lowrank_test::write_text(dir / "adapter_model.bin", "PK");
  CHECK(contains(message_of(ErrorKind::kFormat, [&] { lora::load_peft(tiny_llama(), dir.path()); }), "pickle"));
}

TEST_CASE("other prefixes are matched by the longest common end, and said", "[unit]") {
  const Tensors original = read(golden_adapter("plain"));
  const auto load_renamed = [&](auto rename, std::vector<std::string>* notes) {
    lowrank_test::TempDir dir;
    fs::copy(golden_adapter("plain") / "adapter_config.json", dir / "adapter_config.json");
    Tensors tensors;
    for (const auto& [name, tensor] : original) tensors[rename(name)] = tensor;
    write(dir.path(), tensors);
    const auto table = tiny_llama();
    const auto adapter = lora::load_peft(table, dir.path(), notes);
    CHECK(paths(adapter.slots()).size() == 9);
    lowrank_test::TempDir again;  // and what is saved is PEFT's form again
    lora::save_peft(adapter, again.path());
    const Tensors saved = read(again.path());
    REQUIRE(saved.size() == original.size());
    for (const auto& [name, tensor] : original) CHECK(same_bytes(saved.at(name), tensor));
    CHECK_NOTHROW(lora::load_peft(tiny_llama(), again.path()));
  };
  const auto replaced = [](std::string name, const std::string& from, const std::string& to) {
    return name.replace(name.find(from), from.size(), to);
  };
  std::vector<std::string> notes;
  load_renamed(
      [&](const std::string& n) { return replaced(n, "model.model.model.", "model.model.model.language_model."); },
      &notes);
  REQUIRE(notes.size() == 1);
  CHECK(contains(notes[0], "begin with 'model.language_model.' where this model's begin with 'model.'"));
  notes.clear();
  load_renamed([&](const std::string& n) { return n.substr(std::string("base_model.model.").size()); }, &notes);
  REQUIRE(notes.size() == 1);
  CHECK(contains(notes[0], "not as PEFT writes them"));
  notes.clear();
  load_renamed([&](const std::string& n) { return replaced(n, ".weight", ".default.weight"); }, &notes);
  CHECK(notes.size() == 1);
  lowrank_test::TempDir dir;  // a layer's number is never part of a prefix
  fs::copy(golden_adapter("plain") / "adapter_config.json", dir / "adapter_config.json");
  write(dir.path(), {{"base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight", torch::zeros({4, 16})}});
  CHECK_THROWS_AS(lora::load_peft(tiny_llama(at::kFloat, 1), dir.path()), ModelError);
}

TEST_CASE("half-precision adapters are read into fp32", "[unit]") {
  lowrank_test::TempDir dir;
  fs::copy(golden_adapter("plain") / "adapter_config.json", dir / "adapter_config.json");
  Tensors tensors = read(golden_adapter("plain"));
  for (auto& [name, tensor] : tensors) tensor = tensor.to(at::kBFloat16);
  write(dir.path(), tensors);
  const auto adapter = lora::load_peft(tiny_llama(), dir.path());
  CHECK(adapter.slots()[0]->lora().a.scalar_type() == at::kFloat);
  CHECK(at::equal(adapter.slots()[0]->lora().a.detach(), tensors.at(kQ0 + "A.weight").to(at::kFloat)));
}

TEST_CASE("GPT-2's adapter by PEFT is read, fan_in_fan_out and all", "[parity]") {
  const auto assets = lowrank_test::assets();
  if (!assets) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const auto directory = *assets / "adapters" / "peft-gpt2-cattn-cproj-r8";
  const auto config = lora::read_adapter_config(directory);
  CHECK(config.fan_in_fan_out);
  CHECK(config.r == 8);
  CHECK(config.base_model_name_or_path == "gpt2");
  lora::SlotTable table;  // GPT-2's shapes over one zero each, stored [in, out]
  for (int i = 0; i < 12; ++i) {
    const std::string layer = "transformer.h." + std::to_string(i) + ".";
    const auto add = [&](const char* name, std::int64_t in, std::int64_t out) {
      table.slots.push_back(std::make_shared<lora::LinearSlotImpl>(
          layer + name, kernels::BaseWeight::dense(torch::zeros({1, 1}).expand({in, out}), {}, {.transposed = true})));
    };
    add("attn.c_attn", 768, 2304);
    add("attn.c_proj", 768, 768);
    add("mlp.c_fc", 768, 3072);
    add("mlp.c_proj", 3072, 768);
  }
  table.head = "lm_head";
  table.layers = 12;
  std::vector<std::string> notes;
  const auto adapter = lora::load_peft(table, directory, &notes);
  CHECK(adapter.slots().size() == 36);
  CHECK(notes.empty());
  lowrank_test::TempDir dir;
  lora::save_peft(adapter, dir.path());
  CHECK(lora::read_adapter_config(dir.path()).fan_in_fan_out);
  CHECK(lowrank_test::read_text(dir / "adapter_model.safetensors") ==
        lowrank_test::read_text(directory / "adapter_model.safetensors"));
}

TEST_CASE("the weight of a linear layer may be named as a parameter, which is the layer's adapter", "[unit]") {
  lora::LoraConfig config;
  config.r = 3;
  config.target_modules = std::vector<std::string>{"q_proj"};
  config.target_parameters = {"down_proj.weight"};
  config.rank_pattern = {{"down_proj.weight", 2}};
  const auto table = tiny_llama();
  const auto adapter = lora::attach(table, config, 5);
  const lowrank_test::TempDir dir;
  lora::save_peft(adapter, dir / "parameter");
  CHECK(adapter.config().target_parameters == std::vector<std::string>{"down_proj.weight"});
  const auto again = tiny_llama();
  const auto read = lora::load_peft(again, dir / "parameter");
  CHECK(paths(read.slots()) == paths(adapter.slots()));
  CHECK(read.config().target_parameters == config.target_parameters);

  config.target_modules = std::vector<std::string>{"q_proj", "down_proj"};
  config.target_parameters.clear();
  config.rank_pattern = {{"down_proj", 2}};
  const auto same_table = tiny_llama();
  const auto same = lora::attach(same_table, config, 5);
  std::map<std::string, at::Tensor> expected;
  for (const auto& one : same.parameters()) expected[one.name] = one.tensor;
  REQUIRE(read.parameters().size() == expected.size());
  for (const auto& one : read.parameters()) {
    INFO(one.name);
    CHECK(torch::equal(one.tensor, expected.at(one.name)));
  }

  config.target_parameters = {"down_proj.weight"};
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { lora::attach(tiny_llama(), config, 5); }), "both take in"));
  config.target_modules = std::vector<std::string>{"q_proj"};
  config.lora_dropout = 0.1;
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { lora::attach(tiny_llama(), config, 5); }), "lora_dropout"));
}
