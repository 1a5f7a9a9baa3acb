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
  refused<ModelError>(
      {{"model_type", "mamba"}},
      {"mamba",
       "cohere2, ernie4_5, exaone4, gemma, gemma2, gemma3, gemma3_text, gemma4, gemma4_text, glm4, gpt2, gpt_neox",
       "llama, ministral3, mistral, mistral3, mixtral, olmo2"});
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
    const bool codes = key == "quantization_config";  // a sentence of its own: what to download instead
    refused<ModelError>(patch, codes ? std::vector<std::string>{key, "gptq", "base_model"} : std::vector<std::string>{key, "llama"});
  }
  refused<ModelError>({{"hidden_act", "xielu"}}, {"hidden_act", "xielu", "gelu_new"});
  for (const char* kind : {"su", "mrope"}) {
    refused<ModelError>({{"rope_scaling", {{"rope_type", kind}, {"factor", 4.0}}}},
                        {kind, "default, linear, dynamic, yarn, longrope, llama3 and proportional"});
  }
  refused<ModelError>(
      {{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1e4}, {"partial_rotary_factor", 0.5}}}},
      {"partial_rotary_factor"});
  refused<ModelError>(
      {{"model_type", "qwen3"},
       {"rope_parameters", {{"full_attention", {{"rope_theta", 1e6}}}, {"sliding_attention", {{"rope_theta", 1e4}}}}}},
      {"rope_parameters", "layer types"});
  refused<ModelError>({{"model_type", "mistral"}, {"attention_bias", true}}, {"attention_bias"});
  refused<ModelError>({{"attention_temperature", 2}}, {"attention_temperature", "llama"});
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

TEST_CASE("Mistral's window is every layer's, whatever layer_types says", "[unit]") {
  const models::DecoderConfig config = parse(
      {{"model_type", "mistral"}, {"sliding_window", 8}, {"layer_types", {"full_attention", "sliding_attention"}}});
  CHECK((windows_of(config) == std::vector<std::optional<std::int64_t>>{8, 8}));
  REQUIRE(config.notes.size() == 1);
  CHECK(says(config.notes.front(), {"layer_types", "full_attention", "transformers"}));
}

TEST_CASE("the text part of a model with pictures is read from text_config", "[unit]") {
  core::Json json = {
      {"model_type", "gemma3"},
      {"text_config",
       {{"hidden_size", 64}, {"num_hidden_layers", 12}, {"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}}}},
      {"vision_config", {{"hidden_size", 8}}},
      {"image_token_index", 262144},
      {"eos_token_id", {1, 106}},
      {"mystery", 1}};
  const auto parsed = [&] { return models::parse_config(core::JsonView(json, "config.json")); };
  const models::DecoderConfig config = parsed();
  CHECK(config.model_type == "gemma3_text");
  CHECK(config.blocks->prefix == "model.language_model.");
  CHECK(config.blocks->saved_prefix == "model.");
  CHECK(config.vocab_size == 262208);
  CHECK(attention_of(config).heads == 8);
  CHECK(config.tied);
  CHECK(config.eos_token_ids == std::vector<std::int64_t>{1, 106});
  CHECK(config.unknown_keys == std::vector<std::string>{"mystery"});
  CHECK(windows_of(config)[4] == 4096);
  CHECK_FALSE(windows_of(config)[5]);
  REQUIRE(config.blocks->rotary.size() == 2);
  CHECK(config.blocks->rotary[0].theta == 1e4);
  CHECK(config.blocks->rotary[0].scaling.factor == 1);
  CHECK(config.blocks->rotary[1].theta == 1e6);
  CHECK(config.blocks->rotary[1].scaling.factor == 8);
  CHECK(attention_of(config, 4).rotary == 0);
  CHECK(attention_of(config, 5).rotary == 1);

  json["quantization_config"] = {{"quant_method", "gptq"}};
  check_refused<ModelError>(parsed, {"quantization_config"});
  json.erase("quantization_config");
  json["text_config"]["model_type"] = "gemma3";
  check_refused<FormatError>(parsed, {"text_config", "text model"});
  json["text_config"]["model_type"] = "gemma9_text";
  check_refused<ModelError>(parsed, {"text_config", "gemma9_text"});
  json.erase("text_config");
  check_refused<FormatError>(parsed, {"text_config"});
}

TEST_CASE("keys of single families are refused where they cannot be, each by name", "[unit]") {
  const core::Json flat = {{"rope_type", "default"}, {"rope_theta", 1e4}};
  refused<FormatError>({{"model_type", "gemma3_text"}, {"rope_parameters", flat}}, {"rope_type", "layer type"});
  refused<FormatError>({{"model_type", "gemma3_text"}, {"final_logit_softcapping", -1}}, {"final_logit_softcapping"});
  refused<ModelError>({{"model_type", "gemma3_text"}, {"attn_logit_softcapping", 50.0}}, {"attn_logit_softcapping"});
  refused<ModelError>({{"model_type", "gemma3_text"}, {"use_bidirectional_attention", true}},
                      {"use_bidirectional_attention"});
  refused<FormatError>({{"model_type", "ministral3"}, {"rope_parameters", flat}}, {"llama_4_scaling_beta"});
  refused<FormatError>({{"model_type", "smollm3"}, {"no_rope_layers", {1}}}, {"no_rope_layers", "num_hidden_layers"});
  refused<FormatError>({{"model_type", "smollm3"}, {"no_rope_layers", {1, 2}}}, {"no_rope_layers"});
  refused<FormatError>({{"model_type", "smollm3"}, {"no_rope_layer_interval", 0}}, {"no_rope_layer_interval"});
  refused<FormatError>({{"model_type", "olmo3"}, {"rope_parameters", flat}}, {"rope_type", "layer type"});
  refused<ModelError>({{"model_type", "olmo3"}, {"layer_types", {"full_attention", "chunked_attention"}}},
                      {"layer_types", "chunked_attention"});
  for (const char* key : {"attention_multiplier", "residual_multiplier", "embedding_multiplier", "logits_scaling"}) {
    refused<FormatError>({{"model_type", "granite"}, {key, 0}}, {key, "greater than 0"});
    refused<FormatError>({{"model_type", "granite"}, {key, "2"}}, {key});
  }
  refused<ModelError>({{"model_type", "granite"}, {"clip_qkv", 8}}, {"clip_qkv", "granite"});
  refused<ModelError>({{"model_type", "gemma"}, {"use_bidirectional_attention", true}},
                      {"use_bidirectional_attention"});
  refused<ModelError>({{"model_type", "phi"}, {"tie_word_embeddings", true}}, {"tie_word_embeddings", "bias"});
  refused<FormatError>({{"model_type", "phi"}, {"partial_rotary_factor", 0.4}}, {"partial_rotary_factor", "3 columns"});
  refused<FormatError>({{"model_type", "gpt_neox"}, {"rotary_pct", 0}}, {"partial_rotary_factor 0"});
  refused<FormatError>({{"model_type", "gpt_neox"}, {"num_attention_heads", 5}}, {"num_attention_heads"});
  refused<FormatError>({{"model_type", "opt"}}, {"ffn_dim"});
  refused<FormatError>({{"model_type", "opt"}, {"ffn_dim", 24}, {"word_embed_proj_dim", 0}}, {"word_embed_proj_dim"});
  const core::Json gemma4 = {{"model_type", "gemma4_text"}, {"layer_types", {"sliding_attention", "full_attention"}}};
  const auto refused_gemma4 = [&](const core::Json& patch, const std::vector<std::string>& parts, auto error) {
    core::Json json = gemma4;
    json.merge_patch(patch);
    refused<decltype(error)>(json, parts);
  };
  refused_gemma4({{"num_kv_shared_layers", 1}}, {"num_kv_shared_layers", "layer 1"}, FormatError(""));
  refused_gemma4({{"num_kv_shared_layers", 2}}, {"num_kv_shared_layers"}, FormatError(""));
  refused_gemma4({{"enable_moe_block", true}}, {"num_experts"}, FormatError(""));
  refused_gemma4({{"enable_moe_block", true}, {"num_experts", 4}, {"top_k_experts", 5}}, {"top_k_experts", "4"},
                 FormatError(""));
  refused_gemma4({{"use_bidirectional_attention", "all"}}, {"use_bidirectional_attention"}, ModelError(""));
  refused_gemma4({{"per_layer_config", {{"2", {{"head_dim", 8}}}}}}, {"per_layer_config", "below 2"}, FormatError(""));
  refused_gemma4({{"per_layer_config", {{"1", {{"sliding_window", 8}}}}}}, {"per_layer_config", "sliding_window"},
                 ModelError(""));
  refused_gemma4({{"per_layer_config", {{"1", {{"num_key_value_heads", 3}}}}}}, {"layer 1", "num_key_value_heads"},
                 FormatError(""));
  refused<FormatError>({{"model_type", "exaone4"}, {"num_key_value_heads", 2}, {"sliding_window_pattern", "LLLG"}},
                       {"sliding_window_pattern"});
  refused<FormatError>({{"model_type", "hunyuan_v1_dense"}, {"rope_scaling", {{"type", "dynamic"}, {"alpha", -1}}}},
                       {"alpha"});
  refused<FormatError>({{"model_type", "starcoder2"}, {"norm_epsilon", -1}}, {"norm_epsilon"});
  refused<FormatError>({{"model_type", "stablelm"}, {"use_qkv_bias", 1}, {"num_key_value_heads", 2}}, {"use_qkv_bias"});
  refused<FormatError>({{"model_type", "smollm3"}, {"layer_types", {"full_attention", "sliding_attention"}}},
                       {"layer_types", "window"});
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
