// From a name to a model: folders, the hub's cache, adapters, strictness about tensors, dtypes.
#include "lowrank/kernels/runtime.h"
#include "lowrank/models/load.h"

#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/data/tokenizer/limited.h"
#include "lowrank/lora/adapter.h"
#include "models_helpers.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

/// Sets an environment variable for a scope.
class Environment {
 public:
  Environment(const char* name, const std::optional<std::string>& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    value ? ::setenv(name, value->c_str(), 1) : ::unsetenv(name);
  }
  ~Environment() { old_ ? ::setenv(name_, old_->c_str(), 1) : ::unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

/// A copy of a golden model whose tensors can be changed before it is written.
std::map<std::string, at::Tensor> tensors_of(const Golden& golden) {
  std::map<std::string, at::Tensor> tensors;
  for (const std::string& name : golden.weights.names()) {
    tensors[name] = formats::tensor_view(*golden.weights.find(name)).clone();
  }
  return tensors;
}

void write_model(const fs::path& folder, const Golden& golden, const std::map<std::string, at::Tensor>& tensors) {
  fs::create_directories(folder);
  fs::copy_file(golden.folder / "config.json", folder / "config.json", fs::copy_options::overwrite_existing);
  std::vector<formats::TensorToWrite> list;
  for (const auto& [name, tensor] : tensors) list.push_back(formats::tensor_to_write(name, tensor));
  formats::write_safetensors(folder / "model.safetensors", std::move(list));
}

models::Decoder open(const fs::path& folder, at::ScalarType dtype = at::kFloat,
                     std::vector<std::string>* warnings = nullptr) {
  return models::load_decoder(models::read_config(folder), formats::WeightFiles::open(folder), dtype, false, warnings);
}

}  // namespace

TEST_CASE("MODEL is a folder, a name in the Hugging Face cache, or an adapter", "[unit]") {
  TempDir temp;
  const fs::path hub = temp / "hub";
  const fs::path snapshot = hub / "models--org--small-1.0" / "snapshots" / "abc123";
  write_text(snapshot / "config.json", "{}");
  write_text(hub / "models--org--small-1.0" / "refs" / "main", "abc123\n");
  write_text(temp / "plain/config.json", "{}");
  write_text(temp / "adapter/adapter_config.json", R"({"base_model_name_or_path": "org/small-1.0"})");
  write_text(temp / "beside/adapter_config.json", R"({"base_model_name_or_path": "../plain"})");
  write_text(temp / "lost/adapter_config.json", R"({"base_model_name_or_path": "org/other"})");
  write_text(temp / "nameless/adapter_config.json", R"({"base_model_name_or_path": null})");
  write_text(temp / "empty/readme", "");
  const Environment cache("HF_HUB_CACHE", hub.string());

  models::Resolved resolved = models::resolve((temp / "plain").string() + "/");
  CHECK(fs::equivalent(resolved.model, temp / "plain"));
  CHECK(resolved.name == (temp / "plain").string());
  CHECK(resolved.base_name == (temp / "plain").string());
  const fs::path was = fs::current_path();
  fs::current_path(temp.path());
  CHECK(models::resolve("plain").name == "plain");
  CHECK(fs::equivalent(models::resolve("plain").base_name, temp / "plain"));
  CHECK(fs::path(models::resolve("./plain/").base_name).is_absolute());
  fs::current_path(was);
  CHECK_FALSE(resolved.adapter);
  resolved = models::resolve("org/small-1.0");
  CHECK(fs::equivalent(resolved.model, snapshot));
  CHECK(resolved.name == "org/small-1.0");
  CHECK(resolved.base_name == "org/small-1.0");
  resolved = models::resolve((temp / "adapter").string());
  CHECK(fs::equivalent(resolved.model, snapshot));
  REQUIRE(resolved.adapter);
  CHECK(fs::equivalent(*resolved.adapter, temp / "adapter"));
  CHECK(resolved.name == "org/small-1.0");
  CHECK(fs::equivalent(models::resolve((temp / "beside").string()).model, temp / "plain"));

  // A trainer may leave its base's config.json beside the adapter.
  write_text(temp / "beside/config.json", "{}");
  CHECK_FALSE(models::resolve((temp / "beside").string()).adapter);
  write_text(temp / "beside/adapter_model.safetensors", "");
  CHECK(models::resolve((temp / "beside").string()).adapter);
  CHECK(fs::equivalent(models::resolve((temp / "beside").string()).model, temp / "plain"));

  check_refused([&] { models::resolve("org/nothing"); }, {"models--org--nothing"});
  CHECK(fs::path(models::resolve((temp / "beside").string()).base_name).is_absolute());
  check_refused([&] { models::resolve((temp / "lost").string()); },
                {"adapter's base", "org/other", "`adapter`", "base_model_name_or_path"});
  CHECK_THROWS_AS(models::resolve((temp / "nameless").string()), ModelError);
  check_refused([&] { models::resolve((temp / "empty").string()); }, {"config.json"});
  check_refused([&] { models::resolve((temp / "plain/config.json").string()); }, {"is a file"});
  for (const char* odd : {"", "../../etc", "org/../x", "/nowhere/at all", "a/b/c"}) {
    CHECK_THROWS_AS(models::resolve(odd), MissingError);
  }
}

TEST_CASE("the cache is found as huggingface_hub finds it", "[unit]") {
  TempDir temp;
  const Environment none("HF_HUB_CACHE", std::nullopt), legacy("HUGGINGFACE_HUB_CACHE", std::nullopt);
  const std::string rest = "models--org--m/snapshots/one/config.json";  // a single snapshot, no refs/main
  {
    write_text(temp / ("home/hub/" + rest), "{}");
    const Environment home("HF_HOME", (temp / "home").string());
    CHECK(models::resolve("org/m").model == temp / "home/hub/models--org--m/snapshots/one");
  }
  const Environment home("HF_HOME", std::nullopt);
  {
    write_text(temp / ("xdg/huggingface/hub/" + rest), "{}");
    const Environment xdg("XDG_CACHE_HOME", (temp / "xdg").string());
    CHECK(models::resolve("org/m").model == temp / "xdg/huggingface/hub/models--org--m/snapshots/one");
  }
  {
    write_text(temp / (".cache/huggingface/hub/" + rest), "{}");
    const Environment xdg("XDG_CACHE_HOME", std::nullopt), user("HOME", temp.path().string());
    CHECK(models::resolve("org/m").model == temp / ".cache/huggingface/hub/models--org--m/snapshots/one");
    // A reference that leads out of the folder is not followed.
    write_text(temp / ".cache/huggingface/hub/models--org--m/refs/main", "../../..");
    CHECK_THROWS_AS(models::resolve("org/m"), MissingError);
  }
}

TEST_CASE("a missing, misshapen or unexpected tensor is an error that names it", "[unit]") {
  TempDir temp;
  const Golden golden("qwen3");
  const std::string victim = "model.layers.1.self_attn.q_norm.weight";
  const auto tensors = tensors_of(golden);

  auto changed = tensors;
  changed.erase(victim);
  write_model(temp / "missing", golden, changed);
  check_refused([&] { open(temp / "missing"); }, {victim, "missing"});

  changed["model.layers.1.self_attn.q_nrom.weight"] = tensors.at(victim);
  write_model(temp / "typo", golden, changed);
  check_refused([&] { open(temp / "typo"); }, {"did you mean 'model.layers.1.self_attn.q_nrom.weight'"});

  changed = tensors;
  changed["model.layers.1.self_attn.q_proj.bias"] = torch::zeros({64});
  write_model(temp / "extra", golden, changed);
  check_refused([&] { open(temp / "extra"); }, {"q_proj.bias", "not part"});

  changed = tensors;
  changed["model.embed_tokens.weight"] = torch::zeros({120, 32});
  write_model(temp / "vocabulary", golden, changed);
  check_refused([&] { open(temp / "vocabulary"); }, {"[120, 32]", "[128, 32]", "vocab_size"});

  changed = tensors;
  changed["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch::zeros({8});
  write_model(temp / "inert", golden, changed);
  CHECK_NOTHROW(open(temp / "inert"));
}

TEST_CASE("tensors of parts that no text goes through are passed over, and said once", "[unit]") {
  TempDir temp;
  const Golden golden("qwen3");
  auto tensors = tensors_of(golden);
  for (const char* name : {"v_head.summary.weight", "v_head.summary.bias", "mtp.layers.0.mlp.up_proj.weight",
                           "model.visual.blocks.0.attn.q_proj.weight"}) {
    tensors[name] = torch::zeros({4});
  }
  write_model(temp / "beside", golden, tensors);
  std::vector<std::string> warnings;
  models::Decoder decoder = open(temp / "beside", at::kFloat, &warnings);
  REQUIRE(warnings.size() == 1);
  CHECK(says(warnings.front(), {"2 of v_head", "1 of mtp", "1 of model.visual", "passed over"}));
  CHECK(distance(logits_of(decoder, golden.tensor("ids")), golden.tensor("logits")) <= 1e-4);
  const auto others = decoder->slot_table().others;
  CHECK(std::find(others.begin(), others.end(), "model.visual.blocks.0.attn.q_proj") != others.end());
}

TEST_CASE("what a serving program, a value head or further layers leave is passed over too", "[unit]") {
  TempDir temp;
  const Golden golden("qwen3");
  auto tensors = tensors_of(golden);
  for (const char* name : {"model.layers.0.self_attn.k_scale", "model.layers.0.self_attn.v_scale", "value_head.weight",
                           "model.layers.61.mlp.up_proj.weight", "model.layers.61.eh_proj.weight"})
    tensors[name] = torch::zeros({4});
  write_model(temp / "beside", golden, tensors);
  std::vector<std::string> warnings;
  models::Decoder decoder = open(temp / "beside", at::kFloat, &warnings);
  REQUIRE(warnings.size() == 1);
  CHECK(says(warnings.front(), {"1 of value_head", "passed over"}));
  CHECK(distance(logits_of(decoder, golden.tensor("ids")), golden.tensor("logits")) <= 1e-4);
  tensors.erase("model.layers.61.eh_proj.weight");
  write_model(temp / "further", golden, tensors);
  check_refused([&] { open(temp / "further"); }, {"model.layers.61", "num_hidden_layers"});
  tensors.erase("model.layers.61.mlp.up_proj.weight");
  tensors["model.layers.0.mlp.up_proj.other"] = torch::zeros({4});
  write_model(temp / "unknown", golden, tensors);
  CHECK_THROWS_AS(open(temp / "unknown"), ModelError);
}

TEST_CASE("other prefixes of the same decoder are read", "[unit]") {
  TempDir temp;
  const Golden golden("qwen3");
  for (const std::string prefix : {"_orig_mod.model.", "model.language_model.", "language_model.model.", ""}) {
    INFO(prefix);
    std::map<std::string, at::Tensor> tensors;
    for (const auto& [name, tensor] : tensors_of(golden)) {
      const bool head = name.starts_with("lm_head");
      const std::string outer = prefix.starts_with("_orig_mod.")        ? "_orig_mod."
                                : prefix.starts_with("language_model.") ? "language_model."
                                                                        : "";
      tensors[head ? outer + name : prefix + name.substr(std::string("model.").size())] = tensor;
    }
    const fs::path folder = temp / ("prefix-" + prefix);
    write_model(folder, golden, tensors);
    models::Decoder decoder = open(folder);
    CHECK(distance(logits_of(decoder, golden.tensor("ids")), golden.tensor("logits")) <= 1e-4);
    CHECK(decoder->slot_table().slots.front()->path() == "model.layers.0.self_attn.q_proj");
    const std::string own = prefix.starts_with("_orig_mod.") ? "model." : prefix;  // a wrapper is no part of a name
    CHECK(decoder->slot_table().slots.front()->stored().tensor == own + "layers.0.self_attn.q_proj.weight");
  }
}

TEST_CASE("tying follows the config, and what is stored where the two differ", "[unit]") {
  TempDir temp;
  const Golden golden("llama-linear-tied");
  const at::Tensor ids = golden.tensor("ids"), expected = golden.tensor("logits");
  auto tensors = tensors_of(golden);
  std::vector<std::string> warnings;

  tensors["lm_head.weight"] = tensors.at("model.embed_tokens.weight").clone();
  write_model(temp / "both", golden, tensors);
  models::Decoder both = open(temp / "both", at::kFloat, &warnings);
  CHECK(both->config().tied);
  CHECK(warnings.empty());
  CHECK(distance(logits_of(both, ids), expected) <= 1e-4);

  tensors.erase("model.embed_tokens.weight");
  write_model(temp / "head", golden, tensors);
  models::Decoder head = open(temp / "head");
  CHECK(distance(logits_of(head, ids), expected) <= 1e-4);

  tensors = tensors_of(golden);
  tensors["lm_head.weight"] = -tensors.at("model.embed_tokens.weight");
  write_model(temp / "differ", golden, tensors);
  models::Decoder differ = open(temp / "differ", at::kFloat, &warnings);
  CHECK_FALSE(differ->config().tied);
  CHECK(warnings.size() == 1);
  CHECK(distance(logits_of(differ, ids), -expected) <= 1e-4);
}

TEST_CASE("BF16, F16 and F32 files run in fp32 and bf16", "[unit]") {
  TempDir temp;
  const Golden golden("llama-llama3");
  for (const at::ScalarType stored : {at::kFloat, at::kHalf, at::kBFloat16}) {
    auto tensors = tensors_of(golden);
    std::map<std::string, at::Tensor> widened;
    for (auto& [name, tensor] : tensors) {
      tensor = tensor.to(stored);
      widened[name] = tensor.to(at::kFloat);
    }
    const std::string name = std::string("as-") + c10::toString(stored);
    write_model(temp / name, golden, tensors);
    write_model(temp / (name + "-wide"), golden, widened);
    // Widened as they are used, the values are those of a file that was widened before.
    models::Decoder decoder = open(temp / name), wide = open(temp / (name + "-wide"));
    const at::Tensor ids = golden.tensor("ids");
    CHECK(distance(logits_of(decoder, ids), logits_of(wide, ids)) <= 1e-4);
    models::Decoder half = open(temp / name, at::kBFloat16);
    CHECK(half->dtype() == at::kBFloat16);
    CHECK((logits_of(half, ids) - golden.tensor("logits")).norm().item<double>() <=
          0.05 * golden.tensor("logits").norm().item<double>());
    // Losses go through the head weight as stored.
    const data::Batch batch = data::make_batch({golden.document(0)}, std::vector<std::uint32_t>{0});
    torch::NoGradGuard no_grad;
    const at::Tensor a = decoder->token_losses(decoder->hidden(batch.ids, batch.segments), batch.labels);
    const at::Tensor b = wide->token_losses(wide->hidden(batch.ids, batch.segments), batch.labels);
    CHECK(distance(a, b) <= 1e-4);
  }
}

TEST_CASE("weights are used where they are mapped, and integers are refused", "[unit]") {
  TempDir temp;
  const Golden golden("llama");
  models::Decoder decoder = golden.load();
  const auto weights = decoder->named_weights();
  for (const auto& weight : weights) {
    const auto bytes = golden.weights.find(weight.name)->bytes();
    CHECK(static_cast<const void*>(weight.tensor.data_ptr()) == static_cast<const void*>(bytes.data()));
    CHECK_FALSE(weight.tensor.requires_grad());
  }
  auto tensors = tensors_of(golden);
  tensors["model.layers.0.mlp.up_proj.weight"] = tensors["model.layers.0.mlp.up_proj.weight"].to(at::kChar);
  write_model(temp / "int8", golden, tensors);
  check_refused([&] { models::choose_dtype(models::DTypeChoice::kAuto, formats::WeightFiles::open(temp / "int8")); },
                {"up_proj.weight", "I8"});
}

TEST_CASE("the automatic dtype is that of the file where the CPU computes it, with the reason", "[unit]") {
  TempDir temp;
  const Golden golden("llama");
  const models::DTypeDecision fp32 = models::choose_dtype(models::DTypeChoice::kAuto, golden.weights);
  CHECK(fp32.dtype == at::kFloat);
  CHECK(fp32.reason == "the weights are F32");  // the name of the dtype stands before it wherever it is said
  auto tensors = tensors_of(golden);
  for (auto& [name, tensor] : tensors) tensor = tensor.to(at::kBFloat16);
  write_model(temp / "bf16", golden, tensors);
  const auto files = formats::WeightFiles::open(temp / "bf16");
  const models::DTypeDecision bf16 = models::choose_dtype(models::DTypeChoice::kAuto, files);
  CHECK(bf16.dtype == (kernels::computes_bf16() ? at::kBFloat16 : at::kFloat));
  CHECK(says(bf16.reason, {"BF16"}));
  CHECK(models::choose_dtype(models::DTypeChoice::kBFloat16, golden.weights).dtype == at::kBFloat16);
  CHECK(models::choose_dtype(models::DTypeChoice::kFloat32, files).dtype == at::kFloat);
}

TEST_CASE("a random decoder depends on its seed alone, and is saved and read back", "[unit]") {
  TempDir temp;
  models::DecoderConfig config = models::read_config(golden_dir() / "models" / "qwen3");
  config.initializer_range = 0.05;
  models::Decoder decoder = models::random_decoder(config, 5);
  const at::Tensor ids = torch::arange(3, 30);
  CHECK(torch::equal(logits_of(decoder, ids), [&] {
    models::Decoder again = models::random_decoder(config, 5, false);
    return logits_of(again, ids);
  }()));
  models::Decoder other = models::random_decoder(config, 6);
  CHECK(distance(logits_of(decoder, ids), logits_of(other, ids)) > 1e-3);
  const at::Tensor embedding = decoder->named_weights().front().tensor;
  CHECK(embedding.requires_grad());
  CHECK(embedding.std().item<double>() == Approx(0.05).epsilon(0.05));
  CHECK(std::abs(embedding.mean().item<double>()) < 0.005);

  write_text(temp / "tokenizer.json", "{\"stand-in\": true}");
  const ByteTokenizer tokenizer({temp / "tokenizer.json"});
  models::save_model(*decoder, tokenizer, temp / "fp32", at::kFloat);
  models::Decoder read = open(temp / "fp32");
  CHECK(torch::equal(logits_of(read, ids), logits_of(decoder, ids)));
  CHECK(read_text(temp / "fp32/tokenizer.json") == read_text(temp / "tokenizer.json"));
  CHECK(models::read_config(temp / "fp32").eos_token_ids == config.eos_token_ids);
  CHECK(models::read_config(temp / "fp32").dtype == "float32");

  models::save_model(*decoder, tokenizer, temp / "bf16", at::kBFloat16);
  const auto files = formats::WeightFiles::open(temp / "bf16");
  for (const auto& weight : decoder->named_weights()) {
    const at::Tensor stored = formats::tensor_view(*files.find(weight.name));
    CHECK(torch::equal(stored, weight.tensor.detach().to(at::kBFloat16)));
  }
  CHECK_THROWS_AS(models::save_model(*decoder, tokenizer, temp / "half", at::kHalf), ConfigError);
}

TEST_CASE("a token beyond the embedding is refused when it occurs", "[unit]") {
  const auto bytes = std::make_shared<const ByteTokenizer>();
  const auto tokenizer = data::limited(bytes, 100);
  CHECK(tokenizer->size() == 128);
  CHECK(tokenizer->bos() == bytes->bos());
  CHECK(tokenizer->encode("A B", true) == bytes->encode("A B", true));
  check_refused<DataError>([&] { tokenizer->encode("xyz", true); }, {"'x'", "id 123", "100"});
}

TEST_CASE("an adapter that was trained on a resized base brings its rows", "[unit]") {
  TempDir temp;
  const Golden golden("llama-linear-tied");
  const auto config = models::read_config(golden.folder);
  const auto file = formats::SafetensorsFile::open(golden.folder / "adapter" / "adapter_model.safetensors");
  const std::string embedding = "base_model.model.model.embed_tokens.weight";
  const at::Tensor own = tensors_of(golden).at("model.embed_tokens.weight");
  const auto write = [&](const fs::path& folder, const at::Tensor& rows) {
    fs::create_directories(folder);
    fs::copy_file(golden.folder / "adapter" / "adapter_config.json", folder / "adapter_config.json");
    std::vector<formats::TensorToWrite> tensors = {formats::tensor_to_write(embedding, rows)};
    for (const formats::TensorInfo& info : file->header().tensors) {
      tensors.push_back(formats::tensor_to_write(info.name, formats::tensor_view(file, info)));
    }
    formats::write_safetensors(folder / "adapter_model.safetensors", std::move(tensors));
  };
  torch::manual_seed(3);
  write(temp / "grown", torch::cat({own, torch::randn({2, own.size(1)})}));
  CHECK_FALSE(models::grown_vocabulary(golden.folder / "adapter", config));
  const auto grown = models::grown_vocabulary(temp / "grown", config);
  REQUIRE(grown);
  CHECK(grown->rows == 130);
  models::Decoder decoder = models::load_decoder(config, golden.weights, at::kFloat, false, nullptr, at::kCPU, &*grown);
  CHECK(decoder->config().vocab_size == 130);
  const at::Tensor ids = golden.tensor("ids");
  CHECK(distance(logits_of(decoder, ids).slice(1, 0, 128), golden.tensor("logits")) <= 1e-4);
  lora::Adapter adapter = lora::load_peft(decoder->slot_table(), temp / "grown");
  CHECK(distance(logits_of(decoder, ids).slice(1, 0, 128), golden.tensor("adapted_logits")) <= 1e-4);
  CHECK_NOTHROW(decoder->hidden(torch::tensor({std::int64_t{129}}), kernels::Segments::of_lengths({1})));

  // The same number of rows, and other values: not this model's.
  write(temp / "other", -own);
  CHECK_FALSE(models::grown_vocabulary(temp / "other", config));
  models::Decoder plain = golden.load();
  check_refused<ModelError>([&] { lora::load_peft(plain->slot_table(), temp / "other"); },
                            {"embed_tokens", "not this model's own"});
}
