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
bool without_effect(const std::string& pointer) {
  static const std::vector<std::string> keys = {
      "architectures",
      "transformers_version",
      "use_cache",
      "dtype",
      "bos_token_id",
      "eos_token_id",
      "pad_token_id",
      "initializer_range",
      "attention_dropout",
      "resid_pdrop",
      "embd_pdrop",
      "attn_pdrop",
      "summary_",
      "pretraining_tp",
      "reorder_and_upcast_attn",
      "max_position_embeddings",
      "max_window_layers",                 // of dynamic rotation, and of models without layer_types
      "tie_word_embeddings",               // a stored head wins where it differs
      "original_max_position_embeddings",  // of the rotations that have it
      "rope_parameters/original_max_position_embeddings",
      "use_sliding_window",
      "rope_parameters/beta_fast",
      "rope_parameters/beta_slow",
      "rope_parameters/short_factor"};
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
      if (value.is_null() || pointer == "/model_type" || without_effect(pointer)) continue;
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
    CHECK(moved >= 2);
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
      {"phi3-window", {{"tie_word_embeddings", false}}},
      {"gemma2", {{"model_type", "llama"}}},
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
  same("llama", {"tie_word_embeddings"}, core::Json::object());
  same("llama", {"rope_parameters", "head_dim"}, {{"rope_theta", 10000}, {"rope_scaling", nullptr}});
  same("llama", {}, {{"tie_word_embeddings", true}});  // both stored and different: not tied, as transformers
  const core::Json one = {{"rope_type", "default"}, {"rope_theta", 1000000.0}};
  same("qwen3", {}, {{"rope_parameters", {{"full_attention", one}, {"sliding_attention", one}}}});
  same("qwen2", {"layer_types"}, {{"max_window_layers", 1}});
}
