// config.json: what is read, and each malformed value with its own message.
#include "lowrank/models/config.h"

#include <random>

#include "lowrank/core/error.h"
#include "models_helpers.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

core::Json base() {
  return core::Json::parse(R"({"model_type": "llama", "vocab_size": 128, "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64})");
}

models::DecoderConfig parse(const core::Json& patch) {
  core::Json json = base();
  for (const auto& [key, value] : patch.items()) json[key] = value;
  return models::parse_config(core::JsonView(json, "config.json"));
}

template <typename E>
void refused(const core::Json& patch, const std::vector<std::string>& parts) {
  INFO(patch.dump());
  check_refused<E>([&] { parse(patch); }, parts);
}

}  // namespace

TEST_CASE("malformed values of config.json are refused, each by name", "[unit]") {
  for (const char* key : {"num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size", "intermediate_size",
                          "num_key_value_heads", "head_dim"}) {
    for (const core::Json& value : {core::Json(0), core::Json(-4), core::Json(1000000000), core::Json(1e9),
                                    core::Json("4"), core::Json(2.5), core::Json(true)}) {
      refused<FormatError>({{key, value}}, {key});
    }
  }
  for (const char* key : {"num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size", "model_type"}) {
    core::Json json = base();
    json.erase(key);
    check_refused<FormatError>([&] { models::parse_config(core::JsonView(json, "config.json")); }, {key});
  }
  refused<FormatError>({{"num_key_value_heads", 3}}, {"num_key_value_heads 3", "num_attention_heads 4"});
  refused<FormatError>({{"head_dim", 7}}, {"head_dim 7", "odd"});
  refused<FormatError>({{"num_attention_heads", 3}, {"num_key_value_heads", 3}}, {"hidden_size 32", "3"});
  refused<FormatError>({{"rope_theta", 0}}, {"rope_theta", "0"});
  refused<FormatError>({{"rope_theta", -1.0}}, {"rope_theta", "-1"});
  refused<FormatError>({{"rope_theta", "10000"}}, {"rope_theta"});
  refused<FormatError>({{"rms_norm_eps", -1e-5}}, {"rms_norm_eps"});
  refused<FormatError>({{"rope_scaling", "linear"}}, {"rope_scaling"});
  refused<FormatError>({{"rope_scaling", {{"type", "linear"}}}}, {"factor"});
  refused<FormatError>({{"rope_scaling", {{"type", "linear"}, {"factor", 0}}}}, {"factor"});
  refused<FormatError>({{"rope_scaling", {{"rope_type", "llama3"}, {"factor", 8}}}}, {"low_freq_factor"});
  refused<FormatError>(
      {{"rope_scaling", {{"rope_type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4}, {"high_freq_factor", 4}}}},
      {"high_freq_factor"});
  const core::Json three = {1.0, 2.0, 3.0}, four = {1.0, 2.0, 3.0, 4.0};
  refused<FormatError>(
      {{"rope_scaling", {{"rope_type", "longrope"}, {"short_factor", three}, {"long_factor", four}, {"factor", 2}}}},
      {"short_factor", "4 numbers"});
  refused<FormatError>({{"rope_scaling", {{"rope_type", "longrope"}, {"short_factor", four}, {"factor", 2}}}},
                       {"long_factor"});
  refused<FormatError>({{"model_type", "phi3"}, {"partial_rotary_factor", 0.4}},
                       {"partial_rotary_factor", "3 columns"});
  refused<FormatError>({{"model_type", "gemma2"}, {"final_logit_softcapping", 0}}, {"final_logit_softcapping"});
  refused<FormatError>({{"model_type", "gemma2"}, {"layer_types", {"full_attention"}}}, {"layer_types", "2"});
  refused<FormatError>({{"model_type", "gpt2"}, {"n_head", 5}}, {"n_head"});
  refused<FormatError>({{"tie_word_embeddings", "yes"}}, {"tie_word_embeddings"});
  refused<FormatError>({{"eos_token_id", {1, "2"}}}, {"eos_token_id"});
  refused<FormatError>({{"model_type", "qwen2"}, {"layer_types", {"full_attention"}}}, {"layer_types", "2"});
  refused<FormatError>({{"model_type", "qwen2"}, {"layer_types", {"full_attention", "sliding_attention"}}},
                       {"layer_types", "window"});
}

TEST_CASE("a key that changes the mathematics and is not supported is an error that names it", "[unit]") {
  refused<ModelError>({{"model_type", "gemma4_text"}},
                      {"gemma4_text", "gemma2, gpt2, llama, mistral, phi3, qwen2, qwen3"});
  refused<ModelError>({{"model_type", "lama"}}, {"did you mean 'llama'"});
  const core::Json cases = {{"activation_function", "gelu"},
                            {"partial_rotary_factor", 0.5},
                            {"attention_multiplier", 0.1},
                            {"logits_scaling", 8.0},
                            {"final_logit_softcapping", 30},
                            {"num_local_experts", 8},
                            {"quantization_config", {{"quant_method", "gptq"}}},
                            {"no_rope_layers", {1, 0}},
                            {"use_qk_norm", true},
                            {"rope_interleaved", true},
                            {"clip_qkv", 8}};
  for (const auto& [key, value] : cases.items()) {
    core::Json patch;
    patch[key] = value;
    refused<ModelError>(patch, {key, "llama"});
  }
  refused<ModelError>({{"hidden_act", "xielu"}}, {"hidden_act", "xielu", "gelu_new"});
  for (const char* kind : {"su", "mrope", "proportional"}) {
    refused<ModelError>({{"rope_scaling", {{"rope_type", kind}, {"factor", 4.0}}}},
                        {kind, "default, linear, dynamic, yarn, longrope and llama3"});
  }
  refused<ModelError>(
      {{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1e4}, {"partial_rotary_factor", 0.5}}}},
      {"partial_rotary_factor"});
  refused<ModelError>(
      {{"model_type", "qwen3"},
       {"rope_parameters", {{"full_attention", {{"rope_theta", 1e6}}}, {"sliding_attention", {{"rope_theta", 1e4}}}}}},
      {"rope_parameters", "layer types"});
  refused<ModelError>({{"model_type", "mistral"}, {"attention_bias", true}}, {"attention_bias"});
  refused<ModelError>(
      {{"model_type", "mistral"}, {"sliding_window", 8}, {"layer_types", {"full_attention", "sliding_attention"}}},
      {"layer_types", "full_attention"});
  // Neutral values of the same keys are fine.
  CHECK_NOTHROW(parse({{"hidden_act", "silu"},
                       {"partial_rotary_factor", 1.0},
                       {"quantization_config", nullptr},
                       {"attention_multiplier", nullptr},
                       {"rope_interleaved", false},
                       {"pretraining_tp", 2}}));
}

TEST_CASE("unknown keys are collected, known inert ones are not, dropout is noted", "[unit]") {
  const models::DecoderConfig config =
      parse({{"my_new_key", 1}, {"use_cache", true}, {"transformers_version", "9"}, {"attention_dropout", 0.1}});
  CHECK(config.unknown_keys == std::vector<std::string>{"my_new_key"});
  REQUIRE(config.notes.size() == 1);
  CHECK(says(config.notes.front(), {"attention_dropout"}));
}

TEST_CASE("defaults are those of transformers' classes", "[unit]") {
  core::Json json = base();
  json.erase("num_key_value_heads");
  json["num_attention_heads"] = 32;
  json["hidden_size"] = 64;
  const auto with = [&](const std::string& type) {
    json["model_type"] = type;
    return models::parse_config(core::JsonView(json, "config.json"));
  };
  CHECK(attention_of(with("llama")).kv_heads == 32);
  CHECK(attention_of(with("mistral")).kv_heads == 8);
  CHECK((windows_of(with("mistral")) == std::vector<std::optional<std::int64_t>>{4096, 4096}));
  CHECK(attention_of(with("qwen2")).kv_heads == 32);
  CHECK(attention_of(with("qwen2")).qkv_bias);
  CHECK_FALSE(attention_of(with("qwen2")).o_bias);
  CHECK((windows_of(with("qwen2")) == std::vector<std::optional<std::int64_t>>{std::nullopt, std::nullopt}));
  CHECK(attention_of(with("qwen3")).head_dim == 128);
  CHECK(attention_of(with("qwen3")).q_norm.kind == models::NormSpec::Kind::kRms);
  CHECK(attention_of(with("llama")).head_dim == 2);
  CHECK(with("llama").blocks->rotary.front().theta == 10000);
  CHECK(with("llama").blocks->final_norm.eps == 1e-6);
  CHECK(attention_of(with("gemma2")).kv_heads == 4);
  CHECK(attention_of(with("gemma2")).scale == 1.0 / 16);
  CHECK(attention_of(with("gemma2")).cap == 50);
  CHECK(with("gemma2").blocks->head.cap == 30);
  CHECK(with("gemma2").tied);
  CHECK((windows_of(with("gemma2")) == std::vector<std::optional<std::int64_t>>{4096, std::nullopt}));
  CHECK((windows_of(with("phi3")) == std::vector<std::optional<std::int64_t>>{std::nullopt, std::nullopt}));
  CHECK(with("phi3").blocks->final_norm.eps == 1e-5);
  CHECK(with("gpt2").blocks->final_norm.eps == 1e-5);
  CHECK(with("gpt2").tied);
}

TEST_CASE("end tokens come from generation_config.json, a number or a list, else from config.json", "[unit]") {
  TempDir folder;
  core::Json json = base();
  json["eos_token_id"] = 5;
  json["pad_token_id"] = -1;
  write_text(folder / "config.json", json.dump());
  CHECK(models::read_config(folder.path()).eos_token_ids == std::vector<std::int64_t>{5});
  CHECK_FALSE(models::read_config(folder.path()).pad_token_id.has_value());
  write_text(folder / "generation_config.json", R"({"eos_token_id": [7, 8]})");
  CHECK(models::read_config(folder.path()).eos_token_ids == std::vector<std::int64_t>{7, 8});
  write_text(folder / "generation_config.json", R"({"eos_token_id": 9})");
  CHECK(models::read_config(folder.path()).eos_token_ids == std::vector<std::int64_t>{9});
  write_text(folder / "generation_config.json", R"({"temperature": 0.6})");
  CHECK(models::read_config(folder.path()).eos_token_ids == std::vector<std::int64_t>{5});
}

TEST_CASE("a written config.json reads back as it was", "[unit]") {
  for (const std::string& name : golden_cases()) {
    INFO(name);
    const models::DecoderConfig before = models::read_config(golden_dir() / "models" / name);
    const core::Json json = core::Json::parse(models::config_json(before));
    const models::DecoderConfig after = models::parse_config(core::JsonView(json, "config.json"));
    CHECK(after.unknown_keys.empty());
    CHECK(models::config_json(after) == models::config_json(before));
    CHECK((windows_of(after) == windows_of(before)));
    CHECK(attention_of(after).scale == attention_of(before).scale);
    CHECK(after.kept_per_token() == before.kept_per_token());
    CHECK(attention_of(after).head_dim == attention_of(before).head_dim);
    CHECK((after.blocks->rotary == before.blocks->rotary));
    CHECK(after.parameter_count() == before.parameter_count());
    const std::string architecture = json["architectures"][0].get<std::string>();
    CHECK((architecture.ends_with("ForCausalLM") || architecture == "GPT2LMHeadModel"));
  }
}

TEST_CASE("any bytes of config.json end in a config or in a typed error", "[unit]") {
  const std::string text = read_text(golden_dir() / "models" / "qwen3" / "config.json");
  std::mt19937 random(1);
  int accepted = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string mutated = text;
    for (int k = 0; k <= i % 3; ++k) mutated[random() % mutated.size()] = static_cast<char>(random());
    try {
      const core::Json json = core::parse_json(mutated, "config.json");
      models::parse_config(core::JsonView(json, "config.json"));
      ++accepted;
    } catch (const FormatError&) {
    } catch (const ModelError&) {
    }
  }
  CHECK(accepted > 0);
}
