// The goldens bite: every key of config.json that changes the mathematics, when changed, moves the logits by at least
// ten times the tolerance of the parity test, or is refused.
#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "models_helpers.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

struct Change {
  std::string golden;
  core::Json patch;  // merged over config.json (RFC 7386: null removes a key)
};

at::Tensor logits_with(const Golden& golden, const core::Json& patch) {
  core::Json json = core::read_json(golden.folder / "config.json");
  json.merge_patch(patch);
  models::DecoderConfig config = models::parse_config(core::JsonView(json, "config.json"));
  models::Decoder decoder = models::load_decoder(config, golden.weights, at::kFloat);
  return logits_of(decoder, golden.tensor("ids"));
}

core::Json rope(const core::Json& patch) { return {{"rope_parameters", patch}}; }

}  // namespace

TEST_CASE("each key that changes the mathematics moves the logits", "[parity]") {
  using core::Json;
  const Json sliding = "sliding_attention", full = "full_attention";
  const std::vector<Change> changes = {
      {"llama", {{"rms_norm_eps", 1e-2}}},
      {"llama", rope({{"rope_theta", 5000}})},
      {"llama", rope({{"rope_type", "linear"}, {"factor", 2}})},
      {"llama", {{"num_attention_heads", 2}, {"num_key_value_heads", 1}, {"head_dim", 16}}},
      {"llama-llama3", rope({{"factor", 8}})},
      {"llama-llama3", rope({{"low_freq_factor", 1.5}})},
      {"llama-llama3", rope({{"high_freq_factor", 3}})},
      {"llama-llama3", rope({{"original_max_position_embeddings", 20}})},
      {"llama-llama3", {{"original_max_position_embeddings", 20}}},
      {"llama-llama3", rope({{"rope_theta", 5000}})},
      {"llama-llama3", rope({{"rope_type", "default"}})},
      {"llama-linear-tied", rope({{"factor", 2}})},
      {"llama-linear-tied", rope({{"rope_type", "default"}})},
      {"llama-linear-tied", rope({{"rope_theta", 600}})},
      {"mistral", {{"sliding_window", 8}}},
      {"mistral", {{"num_attention_heads", 2}, {"num_key_value_heads", 1}, {"head_dim", 24}}},
      {"mistral", {{"rms_norm_eps", 1e-2}}},
      {"mistral", rope({{"rope_theta", 50000}})},
      {"qwen2", {{"sliding_window", 8}}},
      {"qwen2", {{"layer_types", {full, full, sliding}}}},
      {"qwen2", {{"layer_types", nullptr}, {"max_window_layers", 2}}},
      {"qwen2", {{"layer_types", nullptr}, {"use_sliding_window", false}}},
      {"qwen2", rope({{"rope_theta", 500000}})},
      {"qwen2", {{"rms_norm_eps", 1e-2}}},
      {"qwen3", {{"sliding_window", 6}}},
      {"qwen3", {{"layer_types", {sliding, sliding, sliding}}}},
      {"qwen3", {{"rms_norm_eps", 1e-2}}},
      {"qwen3", rope({{"rope_theta", 500000}})},
      {"llama", {{"hidden_act", "gelu"}}},
      {"mistral", {{"hidden_act", "gelu_new"}}},
      {"llama-dynamic", rope({{"factor", 2}})},
      {"llama-dynamic", {{"max_position_embeddings", 30}}},
      {"llama-yarn", rope({{"factor", 5}})},
      {"llama-yarn", rope({{"attention_factor", 1.0}})},
      {"llama-yarn", rope({{"original_max_position_embeddings", 40}})},
      {"llama-yarn-mscale", rope({{"mscale_all_dim", 1.0}})},
      {"llama-yarn-mscale", rope({{"truncate", true}})},
      {"llama-yarn-mscale", rope({{"beta_slow", 0.5}})},
      {"gpt2", {{"scale_attn_weights", false}}},
      {"gpt2", {{"activation_function", "relu"}}},
      {"gpt2", {{"layer_norm_epsilon", 1e-1}}},
      {"gpt2-bare", {{"scale_attn_by_inverse_layer_idx", false}}},
      {"gemma2", {{"query_pre_attn_scalar", 12}}},
      {"gemma2", {{"attn_logit_softcapping", 4.0}}},
      {"gemma2", {{"final_logit_softcapping", 4.0}}},
      {"gemma2", {{"sliding_window", 9}}},
      {"gemma2", {{"hidden_activation", "silu"}}},
      {"gemma2", {{"layer_types", {full, sliding, sliding}}}},
      {"phi3", {{"original_max_position_embeddings", 64}}},
      {"phi3", rope({{"attention_factor", 1.0}})},
      {"phi3", rope({{"partial_rotary_factor", 1.0},
                     {"long_factor", {1, 1, 1, 1, 1, 1, 1, 1}},
                     {"short_factor", {1, 1, 1, 1, 1, 1, 1, 1}}})},
      {"phi3-window", {{"sliding_window", 5}}},
      {"phi3-window", {{"hidden_act", "silu"}}},
      {"qwen3-moe", {{"norm_topk_prob", false}}},
      {"qwen3-moe", {{"num_experts_per_tok", 3}}},
      {"qwen3-moe", {{"hidden_act", "gelu"}}},
      {"qwen3-moe-attention", {{"sliding_window", 9}}},
      {"qwen3-moe-attention", {{"use_sliding_window", false}}},
      {"qwen2-moe", {{"norm_topk_prob", true}}},
      {"qwen2-moe-window", {{"max_window_layers", 0}, {"layer_types", nullptr}}},
      {"mixtral", {{"num_experts_per_tok", 1}}},
      {"mixtral-window", {{"sliding_window", nullptr}}},
      {"gpt-oss", {{"swiglu_alpha", 1.0}}},
      {"gpt-oss", {{"swiglu_limit", 0.5}}},
      {"gpt-oss", {{"num_experts_per_tok", 3}}},
      {"gpt-oss", {{"layer_types", {full, full}}}},
      {"gpt-oss", rope({{"truncate", true}})},
      {"gemma3", {{"sliding_window", 9}}},
      {"gemma3", {{"query_pre_attn_scalar", 12}}},
      {"gemma3", {{"final_logit_softcapping", nullptr}}},
      {"gemma3", rope({{"full_attention", {{"factor", 5}}}})},
      {"gemma3", rope({{"full_attention", {{"rope_type", "default"}}}})},
      {"gemma3", rope({{"sliding_attention", {{"rope_theta", 60}}}})},
      {"gemma3", {{"layer_types", nullptr}, {"sliding_window_pattern", 3}}},
      {"ministral3", rope({{"llama_4_scaling_beta", 0.25}})},
      {"ministral3", rope({{"original_max_position_embeddings", 20}})},
      {"mistral3", {{"text_config", rope({{"llama_4_scaling_beta", 0.4}})}}},
      {"mistral3", {{"text_config", rope({{"original_max_position_embeddings", 9}})}}},
      {"mistral3", {{"text_config", {{"sliding_window", 7}}}}},
      {"smollm3", {{"no_rope_layers", {1, 1, 1}}}},
      {"smollm3", {{"no_rope_layers", nullptr}, {"no_rope_layer_interval", 3}}},
      {"smollm3-window", {{"sliding_window", 9}}},
      {"granite", {{"attention_multiplier", 0.4}}},
      {"granite", {{"residual_multiplier", 0.5}}},
      {"granite", {{"embedding_multiplier", 2.5}}},
      {"granite", {{"logits_scaling", 2.5}}},
      {"gemma", {{"hidden_act", "silu"}}},
      {"olmo2", {{"rms_norm_eps", 1e-2}}},
      {"olmo3", {{"sliding_window", 9}}},
      {"olmo3", rope({{"full_attention", {{"factor", 5}}}})},
      {"olmo3", rope({{"sliding_attention", {{"rope_theta", 60}}}})},
      {"phi", rope({{"partial_rotary_factor", 0.75}})},
      {"phi", {{"layer_norm_eps", 1e-1}}},
      {"phi-qk", {{"layer_norm_eps", 1e-1}}},
      {"gpt_neox", {{"use_parallel_residual", false}}},
      {"gpt_neox", rope({{"partial_rotary_factor", 0.25}})},
      {"gpt_neox", rope({{"rope_theta", 200}})},
      {"opt", {{"activation_function", "gelu"}}},
      {"starcoder2", {{"sliding_window", 9}}},
      {"starcoder2", {{"norm_epsilon", 1e-1}}},
      {"stablelm", rope({{"partial_rotary_factor", 0.75}})},
      {"stablelm-qk", {{"layer_norm_eps", 1e-1}}},
      {"gemma4", {{"sliding_window", 9}}},
      {"gemma4", {{"final_logit_softcapping", 4.0}}},
      {"gemma4", rope({{"full_attention", {{"partial_rotary_factor", 0.25}}}})},
      {"gemma4", rope({{"full_attention", {{"factor", 2}}}})},
      {"gemma4", rope({{"sliding_attention", {{"rope_theta", 60}}}})},
      {"gemma4-keys", {{"hidden_activation", "gelu"}}},
      {"gemma4-experts", {{"top_k_experts", 1}}},
      {"gemma4-experts", {{"rms_norm_eps", 1e-1}}},
      {"cohere2", {{"logit_scale", 0.4}}},
      {"cohere2", {{"sliding_window", 9}}},
      {"exaone4", {{"sliding_window", 9}}},
      {"ernie4_5", rope({{"rope_theta", 200}})},
      {"glm4", rope({{"partial_rotary_factor", 0.75}})},
      {"hunyuan", rope({{"alpha", 40}})},
      {"qwen3_5", {{"rms_norm_eps", 2e-2}}},
      {"qwen3_5", rope({{"partial_rotary_factor", 0.5}})},
      {"qwen3_5", rope({{"rope_theta", 200}})},
      {"qwen3_5-tied", {{"hidden_act", "silu"}}},
      {"qwen3_5-tied", rope({{"partial_rotary_factor", 0.25}})},
      {"qwen3_5-pictures", {{"text_config", rope({{"partial_rotary_factor", 0.75}})}}},
      {"lfm2", {{"norm_eps", 1e-2}}},
      {"lfm2", rope({{"rope_theta", 200}})},
      {"qwen3",
       {{"num_attention_heads", 4}, {"num_key_value_heads", 2}, {"num_hidden_layers", 3}, {"sliding_window", 4}}},
  };
  for (const Change& change : changes) {
    INFO(change.golden << " " << change.patch.dump());
    const Golden golden(change.golden);
    CHECK(distance(logits_with(golden, change.patch), golden.tensor("logits")) >= 1e-3);
  }
  // null is a value of sliding_window, so it cannot be a merge patch.
  const Golden mistral("mistral");
  core::Json json = core::read_json(mistral.folder / "config.json");
  json["sliding_window"] = nullptr;
  models::Decoder decoder =
      models::load_decoder(models::parse_config(core::JsonView(json, "config.json")), mistral.weights, at::kFloat);
  CHECK(distance(logits_of(decoder, mistral.tensor("ids")), mistral.tensor("logits")) >= 1e-3);
}

namespace {

// A value of the same kind that means something else.
core::Json other(const core::Json& value) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number_integer()) return value.get<std::int64_t>() + 1;
  if (value.is_number()) return value.get<double>() * 1.5 + 0.01;
  if (!value.is_string()) return value;
  const std::string text = value.get<std::string>();
  if (text == "sliding_attention") return "full_attention";
  if (text == "full_attention") return "sliding_attention";
  return text == "relu" ? "silu" : "relu";
}

// Nothing that a forward pass depends on, or not in every model: what it does there has a test of its own.
bool without_effect(const std::string& name, const std::string& pointer) {
  // Of models without a dense layer, without a window, of gpt-oss, whose gate is its own; of rotations of one
  // frequency, and of one that a change this small leaves as it is; of a last layer that sees all whatever is said.
  static const std::vector<std::pair<std::string, std::string>> here = {
      {"qwen3-moe", "/intermediate_size"},
      {"qwen2-moe", "/intermediate_size"},
      {"qwen3_5-moe", "/intermediate_size"},
      {"qwen2-moe", "/sliding_window"},
      {"gpt-oss", "/hidden_act"},
      {"gpt-oss-mxfp4", "/hidden_act"},
      {"olmo3", "/rope_parameters/full_attention/beta_fast"},
      {"olmo3", "/rope_parameters/full_attention/original_max_position_embeddings"},
      {"stablelm-qk", "/rope_parameters/rope_theta"},
      {"gemma4", "/layer_types/3"},
      {"gemma4-keys", "/layer_types/1"},
      {"gemma4-keys", "/rope_parameters/full_attention/partial_rotary_factor"},
      {"gemma4-keys", "/rope_parameters/full_attention/rope_theta"},
      {"gemma4-keys", "/use_double_wide_mlp"},
      {"gemma4-keys", "/vocab_size_per_layer_input"},
      {"gemma4-experts", "/layer_types/2"},
      {"gemma4-experts", "/rope_parameters/full_attention/partial_rotary_factor"},
      {"gemma4-experts", "/rope_parameters/full_attention/rope_theta"},
      {"gemma4-experts", "/use_double_wide_mlp"},
      {"gemma4-experts", "/vocab_size_per_layer_input"},
      {"gemma4-pictures", "/layer_types/2"},
      {"gemma4-pictures", "/rope_parameters/full_attention/partial_rotary_factor"},
      {"gemma4-pictures", "/rope_parameters/full_attention/rope_theta"},
      {"qwen3_5-moe-pictures", "/intermediate_size"},
      {"opt-350m", "/_remove_final_layer_norm"},  // there is none
      {"exaone4", "/sliding_window_pattern"},  // beside layer_types
      {"hunyuan", "/rope_parameters/factor"}};
  if (std::find(here.begin(), here.end(), std::pair{name, pointer}) != here.end()) return true;
  static const std::vector<std::string> keys = {
      "architectures", "transformers_version", "use_cache", "dtype", "bos_token_id", "eos_token_id", "pad_token_id",
      "initializer_range", "attention_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "summary_", "pretraining_tp",
      "reorder_and_upcast_attn", "max_position_embeddings",
      "router_",  // of its training
      "output_router_logits", "quantization_config/modules_to_not_convert",
      "max_window_layers",                 // of dynamic rotation, and of models without layer_types
      "tie_word_embeddings",               // a stored head wins where it differs
      "original_max_position_embeddings",  // of the rotations that have it
      "rope_parameters/original_max_position_embeddings", "use_sliding_window", "rope_parameters/beta_fast",
      "rope_parameters/beta_slow", "rope_parameters/short_factor",
      "_sliding_window_pattern",  // of models without layer_types
      "full_attn_idxs",           // the same
      "rope_parameters/mrope_",   // of pictures
      "block_",                   // of models whose width follows from them
      "no_rope_layer_interval",   // of models without no_rope_layers
      "classifier_dropout", "hidden_dropout", "dropout", "layerdrop", "embedding_dropout", "residual_dropout",
      "is_decoder", "init_std", "eod_token_id",
      // Of models that read pictures too: what is not their text.
      "image_token_id", "video_token_id", "audio_token", "boa_token", "eoa_token", "vision_start_token_id", "vision_end_token_id", "vision_config",
      "image_token", "boi_token", "eoi_token", "mm_tokens_per_image", "multimodal_projector_bias",
      "projector_hidden_act", "spatial_merge_size", "vision_feature_layer"};
  constexpr std::string_view kText = "/text_config";
  if (pointer.starts_with(kText)) return without_effect(name, pointer.substr(kText.size()));
  return std::any_of(keys.begin(), keys.end(), [&](const std::string& key) { return pointer.starts_with("/" + key); });
}

}  // namespace

TEST_CASE("every key of config.json moves the logits, is refused, or is known to do nothing", "[parity]") {
  for (const std::string& name : golden_cases()) {
    const Golden golden(name);
    const core::Json json = core::read_json(golden.folder / "config.json");
    const core::Json leaves = json.flatten();
    int moved = 0;
    for (const auto& [pointer, value] : leaves.items()) {
      if (value.is_null() || pointer.ends_with("/model_type") || without_effect(name, pointer)) continue;
      // Its heads turn two columns, by angle 1 a token whatever θ.
      if (name == "qwen3_5-pictures" && pointer.ends_with("/rope_theta")) continue;
      INFO(name << " " << pointer);
      core::Json changed = json;
      changed[core::Json::json_pointer(pointer)] = other(value);
      try {
        models::Decoder decoder = models::load_decoder(models::parse_config(core::JsonView(changed, "config.json")),
                                                       golden.weights, at::kFloat);
        CHECK(distance(logits_of(decoder, golden.tensor("ids")), golden.tensor("logits")) >= 1e-3);
        ++moved;
      } catch (const FormatError&) {
      } catch (const ModelError&) {
      }
    }
    CHECK(moved >= 1);
  }
}

TEST_CASE("each key that the weights contradict is refused", "[unit]") {
  const std::vector<Change> changes = {
      {"llama-llama3", {{"attention_bias", false}}},
      {"llama-llama3", {{"mlp_bias", false}}},
      {"llama", {{"attention_bias", true}}},
      {"llama", {{"mlp_bias", true}}},
      {"llama", {{"num_hidden_layers", 1}}},
      {"llama", {{"num_hidden_layers", 3}}},
      {"llama", {{"vocab_size", 100}}},
      {"llama", {{"hidden_size", 64}}},
      {"llama", {{"intermediate_size", 64}}},
      {"llama", {{"num_key_value_heads", 4}}},
      {"llama", {{"head_dim", 4}}},
      {"llama-linear-tied", {{"tie_word_embeddings", false}}},
      {"qwen3-bias-tied", {{"attention_bias", false}}},
      {"qwen3-bias-tied", {{"model_type", "qwen2"}}},
      {"qwen2", {{"model_type", "llama"}}},
      {"gpt2", {{"n_embd", 16}}},
      {"gpt2", {{"n_inner", 64}}},
      {"gpt2", {{"n_positions", 65}}},
      {"gpt2", {{"add_cross_attention", true}}},
      {"gemma2", {{"use_bidirectional_attention", true}}},
      {"gemma2", {{"tie_word_embeddings", nullptr}, {"attention_bias", true}}},
      {"phi3", {{"model_type", "llama"}}},
      {"qwen3-moe", {{"num_local_experts", 4}}},
      {"qwen3-moe", {{"num_local_experts", 6}}},
      {"qwen3-moe", {{"num_local_experts", nullptr}, {"num_experts", 6}}},
      {"qwen3-moe", {{"moe_intermediate_size", 16}}},
      {"qwen3-moe", {{"decoder_sparse_step", 2}}},
      {"qwen3-moe", {{"mlp_only_layers", {1}}}},
      {"qwen3-moe", {{"model_type", "qwen3"}}},
      {"qwen3-moe-attention", {{"intermediate_size", 16}}},
      {"qwen2-moe", {{"shared_expert_intermediate_size", 20}}},
      {"qwen2-moe", {{"qkv_bias", false}}},
      {"mixtral", {{"intermediate_size", 16}}},
      {"gpt-oss", {{"attention_bias", false}}},
      {"gpt-oss", {{"intermediate_size", 16}}},
      {"gpt-oss-mxfp4", {{"quantization_config", {{"quant_method", "fp8"}}}}},
      {"phi3-window", {{"tie_word_embeddings", false}}},
      {"qwen3_5", {{"layer_types", {"linear_attention", "full_attention", "full_attention"}}}},
      {"qwen3_5", {{"layer_types", nullptr}}},
      {"qwen3_5", {{"linear_conv_kernel_dim", 3}}},
      {"qwen3_5", {{"linear_num_value_heads", 2}}},
      {"qwen3_5", {{"linear_num_key_heads", 1}}},
      {"qwen3_5", {{"linear_key_head_dim", 6}}},
      {"qwen3_5", {{"linear_value_head_dim", 8}}},
      {"qwen3_5", {{"attn_output_gate", false}}},
      {"qwen3_5", {{"attention_bias", true}}},
      {"qwen3_5", {{"model_type", "qwen3"}}},
      {"lfm2", {{"conv_L_cache", 4}}},
      {"lfm2", {{"conv_bias", true}}},
      {"lfm2", {{"layer_types", {"conv", "full_attention", "full_attention"}}}},
      {"lfm2", {{"layer_types", {"conv", "linear_attention", "conv"}}}},
      {"lfm2", {{"block_multiple_of", 64}}},
      {"lfm2", {{"block_ffn_dim_multiplier", 2.0}}},
      {"lfm2", {{"block_auto_adjust_ff_dim", false}}},
      {"lfm2-bias", {{"layer_types", nullptr}, {"full_attn_idxs", {0}}}},
      {"gemma2", {{"model_type", "llama"}}},
      {"phi", {{"tie_word_embeddings", true}}},
      {"phi-qk", {{"qk_layernorm", false}}},
      {"gpt_neox", {{"attention_bias", false}}},
      {"opt", {{"enable_bias", false}}},
      {"opt", {{"layer_norm_elementwise_affine", false}}},
      {"opt", {{"_remove_final_layer_norm", true}}},
      {"opt", {{"do_layer_norm_before", false}}},
      {"opt", {{"word_embed_proj_dim", 8}}},
      {"opt", {{"max_position_embeddings", 65}}},
      {"starcoder2", {{"use_bias", false}}},
      {"stablelm", {{"use_qkv_bias", false}}},
      {"stablelm", {{"qk_layernorm", true}}},
      {"stablelm-qk", {{"use_parallel_residual", false}}},
      {"olmo2", {{"attention_bias", true}}},
      {"gemma4",
       {{"enable_moe_block", true}, {"num_experts", 4}, {"top_k_experts", 2}, {"moe_intermediate_size", 12}}},
      {"gemma4-experts", {{"enable_moe_block", false}}},
      {"gemma4-experts", {{"num_experts", 5}}},
      {"gemma4-experts", {{"moe_intermediate_size", 16}}},
      {"gemma4", {{"use_bidirectional_attention", "all"}}},
      {"gemma4", {{"use_double_wide_mlp", false}}},
      {"gemma4", {{"num_kv_shared_layers", 0}}},
      {"gemma4", {{"hidden_size_per_layer_input", 3}}},
      {"gemma4", {{"vocab_size_per_layer_input", 63}}},
      {"gemma4-keys", {{"attention_k_eq_v", false}}},
      {"seed_oss", {{"attention_out_bias", true}}},
      {"seed_oss", {{"attention_bias", false}}},
      {"ernie4_5", {{"use_bias", false}}},
      {"glm4", {{"attention_bias", false}}},
  };
  for (const Change& change : changes) {
    INFO(change.golden << " " << change.patch.dump());
    const Golden golden(change.golden);
    CHECK_THROWS_AS(logits_with(golden, change.patch), ModelError);
  }
}

TEST_CASE("spellings of the same configuration give the same logits", "[unit]") {
  const auto same = [](const std::string& name, const std::vector<std::string>& drop, const core::Json& add) {
    INFO(name << " " << add.dump());
    const Golden golden(name);
    core::Json json = core::read_json(golden.folder / "config.json");
    for (const std::string& key : drop) json.erase(key);
    for (const auto& [key, value] : add.items()) json[key] = value;
    models::Decoder decoder =
        models::load_decoder(models::parse_config(core::JsonView(json, "config.json")), golden.weights, at::kFloat);
    CHECK(distance(logits_of(decoder, golden.tensor("ids")), golden.tensor("logits")) <= 1e-4);
  };
  const core::Json llama3 = {
      {"factor", 4.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 16}};
  core::Json with_type = llama3, with_rope_type = llama3;
  with_type["type"] = "llama3";
  with_rope_type["rope_type"] = "llama3";
  same("llama-llama3", {"rope_parameters"}, {{"rope_theta", 10000.0}, {"rope_scaling", with_type}});
  same("llama-llama3", {"rope_parameters"}, {{"rope_scaling", with_rope_type}});
  same("llama-linear-tied", {"rope_parameters"},
       {{"rope_theta", 500}, {"rope_scaling", {{"type", "linear"}, {"factor", 2.5}}}});
  same("llama-linear-tied", {"tie_word_embeddings"}, core::Json::object());
  same("gemma3", {"rope_parameters"},
       {{"rope_theta", 5000.0},
        {"rope_local_base_freq", 50.0},
        {"rope_scaling", {{"rope_type", "linear"}, {"factor", 4.0}}}});
  same("gpt_neox", {"rope_parameters"}, {{"rotary_emb_base", 100}, {"rotary_pct", 0.5}});
  same("phi", {"rope_parameters"}, {{"rope_theta", 100.0}, {"partial_rotary_factor", 0.5}});
  same("stablelm-qk", {"rope_parameters"}, {{"rope_theta", 100.0}});  // a quarter is the default
  same("smollm3", {"no_rope_layers"}, core::Json::object());
  same("llama", {"tie_word_embeddings"}, core::Json::object());
  same("llama", {"rope_parameters", "head_dim"}, {{"rope_theta", 10000}, {"rope_scaling", nullptr}});
  same("llama", {}, {{"tie_word_embeddings", true}});  // both stored and different: not tied, as transformers
  const core::Json one = {{"rope_type", "default"}, {"rope_theta", 1000000.0}};
  same("qwen3", {}, {{"rope_parameters", {{"full_attention", one}, {"sliding_attention", one}}}});
  same("qwen2", {"layer_types"}, {{"max_window_layers", 1}});
}
