// The goldens bite: every key of config.json that changes the mathematics, when changed, moves the logits by at least
// ten times the tolerance of the parity test, or is refused.
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
      {"mistral", {{"hidden_act", "gelu"}}},
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
