// Mixtures of experts: what adapters target, the forms in which files have their matrices, merging (the numbers are
// with the other families' in decoder.cpp).
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/kernels/mxfp4.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/lora/merge.h"
#include "lowrank/lora/peft_by_expert.h"
#include "lowrank/lora/update_norms.h"
#include "models_helpers.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

lora::Adapter attach(models::Decoder& decoder, const std::vector<std::string>& targets,
                     const std::vector<std::string>& parameters = {}) {
  lora::LoraConfig config;
  config.r = 3;
  config.lora_alpha = 5;
  config.target_modules = targets;
  config.target_parameters = parameters;
  lora::Adapter adapter = lora::attach(decoder->slot_table(), config, 7);
  torch::NoGradGuard no_grad;
  torch::manual_seed(5);
  for (const lora::NamedTensor& parameter : adapter.parameters())
    parameter.tensor.detach().copy_(0.15 * torch::randn(parameter.tensor.sizes()));
  return adapter;
}

std::vector<std::string> names_of(const lora::Adapter& adapter) {
  std::vector<std::string> names;
  for (const lora::NamedTensor& parameter : adapter.parameters()) names.push_back(parameter.name);
  return names;
}

bool has(const std::vector<std::string>& names, const std::string& part) {
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return name.find(part) != std::string::npos; });
}

using Strings = std::vector<std::string>;

}  // namespace

TEST_CASE("all-linear is what PEFT makes of it, but that routers stay frozen until they are named", "[unit]") {
  {
    models::Decoder decoder = Golden("qwen3-moe-attention").load();
    const lora::Adapter adapter = attach(decoder, {"all-linear"});
    const Strings names = names_of(adapter);
    CHECK(has(names, "layers.3.mlp.experts.base_layer.lora_A"));
    CHECK(has(names, "layers.3.mlp.experts.lora_B"));
    CHECK_FALSE(has(names, "mlp.gate."));
    CHECK_FALSE(has(names, "layers.0.mlp"));         // dense: PEFT takes the names of its layers for those of experts
    CHECK(adapter.experts().size() == 2);            // layer 3 alone is sparse: (i + 1) % 2 and not 1
    CHECK(adapter.at(adapter.experts()[0]).r == 6);  // gate and up are one parameter
    CHECK(adapter.at(adapter.experts()[1]).r == 3);
    CHECK(adapter.config().scale_for(adapter.experts()[0]->path()) == Approx(5.0 / 3));
    CHECK(adapter.config().target_parameters == Strings{"gate_up_proj", "down_proj"});
  }
  {
    models::Decoder decoder = Golden("mixtral").load();
    const lora::Adapter adapter = attach(decoder, {"q_proj", "w1", "w2", "w3", "gate"});
    CHECK(adapter.config().target_parameters == Strings{"gate_up_proj", "down_proj", "gate.weight"});
    CHECK(adapter.config().target_modules == std::variant<Strings, std::string>(Strings{"q_proj"}));
    CHECK(has(names_of(adapter), "layers.1.mlp.gate.lora_A.weight"));
  }
  {
    models::Decoder decoder = Golden("qwen2-moe").load();
    const Strings names = names_of(attach(decoder, {"all-linear"}));
    CHECK(has(names, "mlp.shared_expert.down_proj.lora_A"));
    CHECK(has(names, "mlp.shared_expert_gate.lora_A"));
    CHECK_FALSE(has(names, "mlp.experts"));
    CHECK_FALSE(has(names, "mlp.gate."));
  }
  {
    models::Decoder decoder = Golden("gpt-oss").load();
    const Strings names = names_of(attach(decoder, {"all-linear"}));
    CHECK_FALSE(has(names, "mlp"));
    CHECK(has(names, "o_proj.lora_B"));
  }
}

TEST_CASE("what a mixture's adapter cannot be is refused by name", "[unit]") {
  models::Decoder decoder = Golden("qwen3-moe").load();
  const auto with = [&](auto change) {
    return [&decoder, change] {
      lora::LoraConfig config;
      change(config);
      lora::attach(decoder->slot_table(), config);
    };
  };
  check_refused<ConfigError>(with([](auto& c) { c.lora_dropout = 0.1; }), {"lora_dropout", "gate_up_proj"});
  check_refused<ConfigError>(with([](auto& c) { c.use_dora = true; }), {"use_dora", "gate_up_proj"});
  check_refused<ConfigError>(with([](auto& c) { c.init_lora_weights = "pissa"; }), {"pissa", "gate_up_proj"});
  check_refused<ConfigError>(with([](auto& c) { c.target_modules = Strings{"gate_proj"}; }), {"gate_proj", "up_proj"});
  check_refused<ConfigError>(with([](auto& c) {
                               c.target_modules = Strings{};
                               c.target_parameters = {"experts.gate_up_prj"};
                             }),
                             {"gate_up_prj", "gate_up_proj"});
  // Without experts all of this goes.
  lora::LoraConfig config;
  config.lora_dropout = 0.1;
  config.target_modules = Strings{"q_proj", "v_proj"};
  CHECK(lora::attach(decoder->slot_table(), config).experts().empty());
}

TEST_CASE("layers and exclusions hold for parameters, which the config then names whole", "[unit]") {
  models::Decoder decoder = Golden("qwen3-moe").load();
  lora::LoraConfig config;
  config.layers_to_transform = std::vector<std::int64_t>{1};
  const lora::Adapter adapter = lora::attach(decoder->slot_table(), config);
  CHECK(adapter.experts().size() == 2);
  CHECK(adapter.config().target_parameters ==
        Strings{"model.layers.1.mlp.experts.gate_up_proj", "model.layers.1.mlp.experts.down_proj"});
}

TEST_CASE("parameters of experts that differ from layer to layer are saved and read", "[unit]") {
  const Golden golden("qwen3-moe");
  models::Decoder decoder = golden.load();
  const lora::Adapter adapter =
      attach(decoder, {}, {"0.mlp.experts.gate_up_proj", "1.mlp.experts.down_proj", "1.mlp.experts.gate_up_proj"});
  REQUIRE(adapter.experts().size() == 3);
  const TempDir dir;
  lora::save_peft(adapter, dir / "saved");
  models::Decoder again = golden.load();
  const lora::Adapter read = lora::load_peft(again->slot_table(), dir / "saved");
  CHECK(names_of(read) == names_of(adapter));
  CHECK(torch::equal(logits_of(again, golden.tensor("ids")), logits_of(decoder, golden.tensor("ids"))));
}

TEST_CASE("an adapter with the experts' layers one by one is PEFT's in the new form", "[parity]") {
  for (const char* name : {"qwen3-moe", "mixtral"}) {
    INFO(name);
    const Golden golden(name);
    models::Decoder decoder = golden.load();
    std::vector<std::string> notes;
    const lora::Adapter adapter = lora::load_peft(decoder->slot_table(), golden.folder / "adapter-older", &notes);
    CHECK(distance(logits_of(decoder, golden.tensor("ids")), golden.tensor("older_logits")) <= 1e-4);
    REQUIRE(notes.size() == 1);
    CHECK(says(notes[0], {"one by one", "twice the rank"}));
    CHECK(adapter.at(adapter.experts().front()).r == 4);
    // It is saved in the new form, and read again.
    const TempDir dir;
    lora::save_peft(adapter, dir / "saved");
    models::Decoder again = golden.load();
    lora::load_peft(again->slot_table(), dir / "saved");
    CHECK(distance(logits_of(again, golden.tensor("ids")), golden.tensor("older_logits")) <= 1e-4);
  }
}

TEST_CASE("an adapter is written with a pair for each expert, at the same rank, and read again", "[unit]") {
  for (const char* name : {"qwen3-moe", "mixtral"}) {
    INFO(name);
    const Golden golden(name);
    models::Decoder decoder = golden.load();
    const lora::Adapter adapter = lora::load_peft(decoder->slot_table(), golden.folder / "adapter");
    const TempDir dir;
    lora::save_by_expert(adapter, decoder->slot_table(), at::kFloat, dir / "older");
    models::Decoder again = golden.load();
    const lora::Adapter read = lora::load_peft(again->slot_table(), dir / "older");
    CHECK(read.at(read.experts().front()).r == 2 * adapter.at(adapter.experts().front()).r);
    CHECK(distance(logits_of(again, golden.tensor("ids")), golden.tensor("adapted_logits")) <= 1e-4);
  }
  models::Decoder decoder = Golden("gpt-oss").load();
  const lora::Adapter adapter = attach(decoder, {"q_proj"}, {"mlp.experts.gate_up_proj"});
  const TempDir dir;
  check_refused<ConfigError>([&] { lora::save_by_expert(adapter, decoder->slot_table(), at::kFloat, dir / "older"); },
                             {"gate_up_proj", "one pair an expert"});
}

TEST_CASE("adapters of mixtures are saved and read to the bit, and files that do not fit are refused", "[unit]") {
  for (const std::string& name : mixture_cases()) {
    INFO(name);
    const Golden golden(name);
    models::Decoder decoder = golden.load();
    const lora::Adapter adapter = lora::load_peft(decoder->slot_table(), golden.folder / "adapter");
    const TempDir dir;
    lora::save_peft(adapter, dir / "saved");
    models::Decoder again = golden.load();
    const lora::Adapter read = lora::load_peft(again->slot_table(), dir / "saved");
    CHECK(read.config().target_parameters == adapter.config().target_parameters);
    REQUIRE(read.parameters().size() == adapter.parameters().size());
    for (std::size_t i = 0; i < read.parameters().size(); ++i) {
      CHECK(read.parameters()[i].name == adapter.parameters()[i].name);
      CHECK(torch::equal(read.parameters()[i].tensor, adapter.parameters()[i].tensor));
    }
  }
  const Golden golden("qwen3-moe");
  models::Decoder other = Golden("qwen3-moe-attention").load();
  check_refused<ModelError>([&] { lora::load_peft(other->slot_table(), golden.folder / "adapter"); },
                            {"unexpected", "layers.0"});
}

TEST_CASE("experts merge into the files as they lie: one by one, fused, transposed", "[unit]") {
  for (const char* name : {"qwen3-moe", "qwen2-moe", "mixtral", "mixtral-window", "gpt-oss"}) {
    INFO(name);
    const Golden golden(name);
    models::Decoder decoder = golden.load();
    const lora::Adapter adapter = lora::load_peft(decoder->slot_table(), golden.folder / "adapter");
    const TempDir dir;
    const lora::MergeReport report = lora::merge_files(golden.folder, adapter, dir / "merged");
    CHECK(report.changed > 0);
    lora::verify_merge(golden.folder, adapter, dir / "merged");
    const auto weights = formats::WeightFiles::open(dir / "merged");
    CHECK(weights.names() == golden.weights.names());
    models::Decoder merged = models::load_decoder(models::read_config(dir / "merged"), weights, at::kFloat);
    CHECK(distance(logits_of(merged, golden.tensor("ids")), golden.tensor("adapted_logits")) <= 1e-4);
    // In memory too.
    lora::Adapter here = adapter;
    here.merge();
    CHECK(distance(logits_of(decoder, golden.tensor("ids")), golden.tensor("adapted_logits")) <= 1e-4);
    here.unmerge();
    CHECK(distance(logits_of(decoder, golden.tensor("ids")), golden.tensor("adapted_logits")) <= 1e-4);
  }
  const Golden packed("gpt-oss-mxfp4");
  models::Decoder decoder = packed.load();
  const lora::Adapter adapter = lora::load_peft(decoder->slot_table(), packed.folder / "adapter");
  const TempDir dir;
  check_refused<ModelError>([&] { lora::merge_files(packed.folder, adapter, dir / "merged"); },
                            {"MXFP4", "gate_up_proj_blocks"});
}

TEST_CASE("experts that a file has fused are those that it has one by one", "[unit]") {
  const Golden golden("qwen3-moe");
  std::vector<formats::TensorToWrite> tensors;
  std::map<std::string, std::map<std::int64_t, std::map<std::string, at::Tensor>>> experts;
  for (const std::string& name : golden.weights.names()) {
    const at::Tensor tensor = formats::tensor_view(*golden.weights.find(name));
    const std::size_t at = name.find(".experts.");
    if (at == std::string::npos) {
      tensors.push_back(formats::tensor_to_write(name, tensor));
      continue;
    }
    const std::size_t number = at + 9, dot = name.find('.', number);
    experts[name.substr(0, number)][std::stoll(name.substr(number, dot - number))][name.substr(dot + 1)] = tensor;
  }
  for (auto& [prefix, own] : experts) {
    std::vector<at::Tensor> gate_up, down;
    for (auto& [number, parts] : own) {
      gate_up.push_back(torch::cat({parts["gate_proj.weight"], parts["up_proj.weight"]}));
      down.push_back(parts["down_proj.weight"]);
    }
    tensors.push_back(formats::tensor_to_write(prefix + "gate_up_proj", torch::stack(gate_up)));
    tensors.push_back(formats::tensor_to_write(prefix + "down_proj", torch::stack(down)));
  }
  const TempDir dir;
  fs::create_directories(dir / "fused");
  formats::write_safetensors(dir / "fused" / "model.safetensors", std::move(tensors));
  core::write_file(dir / "fused" / "config.json", core::read_file(golden.folder / "config.json"));
  const auto weights = formats::WeightFiles::open(dir / "fused");
  models::Decoder decoder = models::load_decoder(models::read_config(dir / "fused"), weights, at::kFloat);
  CHECK(distance(logits_of(decoder, golden.tensor("ids")), golden.tensor("logits")) <= 1e-4);
  const lora::Adapter adapter = lora::load_peft(decoder->slot_table(), golden.folder / "adapter");
  CHECK(distance(logits_of(decoder, golden.tensor("ids")), golden.tensor("adapted_logits")) <= 1e-4);
  lora::merge_files(dir / "fused", adapter, dir / "merged");
  const auto merged = formats::WeightFiles::open(dir / "merged");
  models::Decoder again = models::load_decoder(models::read_config(dir / "merged"), merged, at::kFloat);
  CHECK(distance(logits_of(again, golden.tensor("ids")), golden.tensor("adapted_logits")) <= 1e-4);
}

TEST_CASE("MXFP4 is decoded to the bits that transformers decodes it to, under every scale", "[parity]") {
  const Golden golden("gpt-oss-mxfp4");
  const at::Tensor expected = golden.tensor("mxfp4.values");
  const auto storage = kernels::mxfp4_storage(golden.tensor("mxfp4.blocks"), golden.tensor("mxfp4.scales"));
  const at::Tensor found = storage->rows(0, 256, at::kBFloat16);
  REQUIRE(found.sizes() == expected.sizes());
  CHECK(torch::equal(found.isnan(), expected.isnan()));
  CHECK(torch::equal(found.nan_to_num(0, INFINITY, -INFINITY), expected.nan_to_num(0, INFINITY, -INFINITY)));
  CHECK(torch::equal(found.signbit(), expected.signbit()));  // of zeros too
}

TEST_CASE("the size of an update of experts is that of all of them together", "[unit]") {
  models::Decoder decoder = Golden("gpt-oss").load();
  const lora::Adapter adapter = attach(decoder, {"q_proj"}, {"mlp.experts.gate_up_proj"});
  for (const lora::UpdateNorm& norm : lora::update_norms(adapter)) {
    for (const lora::ExpertsSlot& slot : adapter.experts()) {
      if (slot->path() != norm.path) continue;
      const lora::LoraMatrices& lora = adapter.at(slot);
      const at::Tensor a = lora.a.detach().view({slot->experts(), lora.r, -1});
      const at::Tensor b = lora.b.detach().view({-1, lora.r, slot->experts()}).permute({2, 0, 1});
      CHECK(norm.delta == Approx(b.matmul(a).norm().item<double>() * lora.scale).epsilon(1e-5));
      CHECK(norm.base > 0);
    }
  }
  CHECK(lora::factors_of(adapter).size() == adapter.slots().size() + 8);
}

TEST_CASE("a mixture gives the same bytes for any number of threads, and when layers are recomputed", "[unit]") {
  const Golden golden("qwen3-moe");
  models::Decoder decoder = golden.load();
  const lora::Adapter adapter = lora::load_peft(decoder->slot_table(), golden.folder / "adapter");
  const std::vector<std::uint32_t> both = {0, 1};
  const data::Batch batch = data::make_batch({golden.document(0), golden.document(1)}, both);
  const int before = at::get_num_threads();
  std::vector<std::vector<at::Tensor>> runs;
  for (const auto& [threads, recompute] : {std::pair{1, false}, std::pair{2, false}, std::pair{3, true}}) {
    at::set_num_threads(threads);
    clear_gradients(adapter);
    const at::Tensor hidden = decoder->hidden(batch.ids, batch.segments, {.recompute = recompute});
    decoder->token_losses(hidden, batch.labels).sum().backward();
    auto& run = runs.emplace_back();
    for (const auto& parameter : adapter.parameters()) run.push_back(parameter.tensor.grad().clone());
  }
  at::set_num_threads(before);
  for (const auto& run : runs)
    for (std::size_t i = 0; i < run.size(); ++i) CHECK(torch::equal(run[i], runs[0][i]));
}

TEST_CASE("the routers' load-balancing loss and its gradient are transformers', recomputed too", "[parity]") {
  for (const std::string& name : mixture_cases()) {
    INFO(name);
    const Golden golden(name);
    models::Decoder decoder = golden.load();
    const lora::Adapter adapter = lora::load_peft(decoder->slot_table(), golden.folder / "adapter");
    const std::vector<std::uint32_t> first = {0};
    const data::Batch batch = data::make_batch({golden.document(0)}, first);
    for (const bool recompute : {false, true}) {
      clear_gradients(adapter);
      const auto balance = std::make_shared<kernels::RouterBalance>(1);
      const at::Tensor hidden =
          decoder->hidden(batch.ids, batch.segments, {.recompute = recompute, .balance = balance});
      CHECK(balance->loss() == Approx(golden.tensor("aux_loss").item<float>()).epsilon(1e-5));
      (hidden.sum() * 0).backward();
      int compared = 0;
      for (const auto& parameter : adapter.parameters()) {
        if (!golden.has("aux_grad." + parameter.name)) continue;
        INFO(parameter.name);
        const at::Tensor expected = golden.tensor("aux_grad." + parameter.name);
        CHECK(distance(parameter.tensor.grad(), expected) <= 1e-4 * largest(expected));
        ++compared;
      }
      CHECK(compared == 2);
    }
  }
}

TEST_CASE("keys of a mixture that cannot be are refused", "[unit]") {
  const auto with = [](const std::string& name, const core::Json& patch) {
    return [=] {
      core::Json json = core::read_json(Golden(name).folder / "config.json");
      json.merge_patch(patch);
      models::parse_config(core::JsonView(json, "config.json"));
    };
  };
  check_refused<FormatError>(with("qwen3-moe", {{"num_experts_per_tok", 6}}), {"num_experts_per_tok", "5 experts"});
  check_refused<FormatError>(with("qwen3-moe", {{"num_local_experts", 0}}), {"num_local_experts"});
  check_refused<FormatError>(with("qwen2-moe", {{"layer_types", {"sliding_attention", "full_attention"}}}),
                             {"layer_types", "sliding"});
  check_refused<ModelError>(with("gpt-oss", {{"quantization_config", {{"quant_method", "awq"}}}}), {"mxfp4"});
  check_refused<ModelError>(with("llama", {{"num_local_experts", 8}}), {"num_local_experts"});
}
