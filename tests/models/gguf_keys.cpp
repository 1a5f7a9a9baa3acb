// What llama.cpp's architectures can hold, and how they are told so.
#include "lowrank/models/gguf_keys.h"

#include <cmath>
#include <map>

#include "lowrank/core/error.h"
#include "lowrank/models/gguf_layout.h"
#include "lowrank/models/load.h"
#include "models_helpers.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

models::DecoderConfig parse(const core::Json& patch) {
  core::Json json =
      core::Json::parse(R"({"model_type": "llama", "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64})");
  for (const auto& [key, value] : patch.items()) json[key] = value;
  return models::parse_config(core::JsonView(json, "config.json"));
}

std::map<std::string, formats::GgufValue> keys_of(const core::Json& patch) {
  const formats::GgufValues values = models::gguf_keys(parse(patch)).values;
  return {values.begin(), values.end()};
}

void refused(const core::Json& patch, const std::string& why) {
  INFO(patch.dump());
  CHECK_THROWS_WITH(models::gguf_keys(parse(patch)), Catch::Matchers::Contains(why));
}

formats::GgufValue count(std::uint32_t value) { return value; }
formats::GgufValue real(float value) { return value; }

}  // namespace

TEST_CASE("hyperparameters for llama.cpp", "[unit]") {
  const auto llama = keys_of({{"rms_norm_eps", 1e-5}, {"rope_theta", 5e5}});
  CHECK(llama.at("llama.block_count") == count(4));
  CHECK(llama.at("llama.context_length") == count(64));
  CHECK(llama.at("llama.attention.head_count_kv") == count(1));
  CHECK(llama.at("llama.attention.key_length") == count(32));
  CHECK(llama.at("llama.attention.layer_norm_rms_epsilon") == real(1e-5F));
  CHECK(llama.at("llama.rope.freq_base") == real(5e5F));
  CHECK(llama.at("llama.rope.dimension_count") == count(32));

  const auto gemma = keys_of({{"model_type", "gemma2"},
                              {"head_dim", 32},
                              {"query_pre_attn_scalar", 32},
                              {"sliding_window", 16},
                              {"hidden_activation", "gelu_pytorch_tanh"}});
  CHECK(gemma.at("gemma2.attn_logit_softcapping") == real(50));
  CHECK(gemma.at("gemma2.final_logit_softcapping") == real(30));
  CHECK(gemma.at("gemma2.attention.sliding_window") == count(16));
  CHECK_FALSE(gemma.contains("gemma2.attention.sliding_window_pattern"));  // its own: every second layer

  const auto other =
      keys_of({{"model_type", "gemma2"},
               {"head_dim", 32},
               {"query_pre_attn_scalar", 32},
               {"sliding_window", 16},
               {"layer_types", {"full_attention", "full_attention", "sliding_attention", "full_attention"}}});
  CHECK(other.at("gemma2.attention.sliding_window_pattern") ==
        formats::GgufValue(std::vector<bool>{false, false, true, false}));

  const auto experts = keys_of({{"model_type", "qwen3_moe"},
                                {"num_experts", 8},
                                {"num_experts_per_tok", 2},
                                {"norm_topk_prob", true},
                                {"moe_intermediate_size", 32}});
  CHECK(experts.at("qwen3moe.expert_count") == count(8));
  CHECK(experts.at("qwen3moe.expert_used_count") == count(2));
  CHECK(experts.at("qwen3moe.expert_feed_forward_length") == count(32));
}

TEST_CASE("a Llama 3 rotation is a tensor of factors", "[unit]") {
  const core::Json rope = {{"rope_type", "llama3"},
                           {"factor", 8.0},
                           {"low_freq_factor", 1.0},
                           {"high_freq_factor", 4.0},
                           {"original_max_position_embeddings", 64}};
  const models::GgufKeys keys = models::gguf_keys(parse({{"rope_scaling", rope}}));
  REQUIRE(keys.factors.size() == 1);
  CHECK(keys.factors[0].first == "rope_freqs.weight");
  const at::Tensor& factors = keys.factors[0].second;
  CHECK(factors.size(0) == 16);
  CHECK(factors[0].item<float>() == 1);   // turns often: as it is
  CHECK(factors[15].item<float>() == 8);  // once in longer than the original length
  refused({{"model_type", "qwen2"}, {"rope_scaling", rope}}, "its rope_type is llama3");
}

TEST_CASE("what llama.cpp cannot hold is refused by name", "[unit]") {
  refused({{"model_type", "gpt_neox"}}, "no GGUF file of the family gpt_neox");
  refused({{"hidden_act", "gelu"}}, "another activation");
  refused({{"rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2.0}}}}, "its rope_type is dynamic");
  refused({{"model_type", "qwen3"}, {"attention_bias", true}}, "attention_bias");
  refused({{"model_type", "smollm3"}, {"mlp_bias", true}}, "mlp_bias");
  refused({{"model_type", "smollm3"}, {"no_rope_layers", {1, 0, 1, 1}}}, "rotary positions in layer 1");
  refused({{"model_type", "gemma2"}, {"head_dim", 32}, {"query_pre_attn_scalar", 100}}, "scores scaled by");
  refused(
      {{"model_type", "gemma2"}, {"head_dim", 32}, {"query_pre_attn_scalar", 32}, {"attn_logit_softcapping", nullptr}},
      "no cap of scores");
  refused({{"model_type", "qwen3_moe"}, {"num_experts", 8}, {"num_experts_per_tok", 2}}, "norm_topk_prob");
  refused({{"model_type", "starcoder2"}, {"use_bias", false}}, "no biases");
}

TEST_CASE("names of tensors by the paths of modules", "[unit]") {
  const lora::GgufLayout llama = models::gguf_layout(parse({}));
  CHECK(llama.tensor_of("model.layers.11.self_attn.q_proj") == "blk.11.attn_q.weight");
  CHECK(llama.name_of("model.layers.1.post_attention_layernorm") == "blk.1.ffn_norm");
  CHECK(llama.name_of("model.norm") == "output_norm");
  CHECK(llama.tensor_of("lm_head") == "output.weight");
  CHECK(llama.permuted_heads("model.layers.0.self_attn.q_proj") == 2);
  CHECK(llama.permuted_heads("model.layers.0.self_attn.k_proj") == 1);
  CHECK(llama.tensor_of("model.layers.0.mamba.in_proj").empty());
  const lora::GgufLayout gemma = models::gguf_layout(parse({{"model_type", "gemma2"}, {"head_dim", 32}}));
  CHECK(gemma.name_of("model.layers.1.post_attention_layernorm") == "blk.1.post_attention_norm");
  CHECK(gemma.name_of("model.layers.1.pre_feedforward_layernorm") == "blk.1.ffn_norm");
  CHECK(gemma.permuted_heads("model.layers.0.self_attn.q_proj") == 0);
  CHECK(gemma.expert_tensors_of("model.layers.3.mlp.experts.gate_up_proj") ==
        std::vector<std::string>{"blk.3.ffn_gate_exps.weight", "blk.3.ffn_up_exps.weight"});
}

TEST_CASE("a GGUF file given as MODEL is answered with what to give instead", "[unit]") {
  const TempDir folder;
  write_text(folder.path() / "model.gguf", "GGUF");
  CHECK_THROWS_WITH(models::resolve((folder.path() / "model.gguf").string()),
                    Catch::Matchers::Contains("is a GGUF file, which llama.cpp runs; give the model in safetensors"));
}
