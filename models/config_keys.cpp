#include "lowrank/models/config_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_set>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"
#include "lowrank/models/quantised.h"

namespace lowrank::models {
namespace {

using Names = std::unordered_set<std::string_view>;

// Nothing that a forward pass of these families depends on: bookkeeping, output options, old generation settings
// (transformers reads those from generation_config.json), training-time dropout (see `notes`). pretraining_tp sliced
// the GEMMs of old transformers without changing what they compute.
const Names& inert_keys() {
  static const Names names = {
      "architectures",
      "transformers_version",
      "use_cache",
      "_name_or_path",
      "name_or_path",
      "_commit_hash",
      "output_attentions",
      "output_hidden_states",
      "output_scores",
      "return_dict",
      "return_dict_in_generate",
      "auto_map",
      "pretraining_tp",
      "id2label",
      "label2id",
      "num_labels",
      "problem_type",
      "chunk_size_feed_forward",
      "torchscript",
      "tf_legacy_loss",
      "use_bfloat16",
      "finetuning_task",
      "task_specific_params",
      "tokenizer_class",
      "prefix",
      "attn_implementation",
      "_attn_implementation",
      "_attn_implementation_autoset",
      "_experts_implementation",
      "attention_dropout",
      "hidden_dropout",
      "resid_pdrop",
      "embd_pdrop",
      "attn_pdrop",
      "dropout",
      "layerdrop",
      "residual_dropout",
      "embedding_dropout",
      "classifier_dropout",
      "cache_implementation",
      "n_ctx",
      "summary_type",
      "summary_use_proj",
      "summary_activation",
      "summary_proj_to_labels",
      "summary_first_dropout",
      "is_llama_config",
      "transformers.js_config",
      "unsloth_version",
      "unsloth_fixed",
      "model_name",
      "temperature",
      "top_k",
      "top_p",
      "typical_p",
      "do_sample",
      "num_beams",
      "num_beam_groups",
      "num_return_sequences",
      "diversity_penalty",
      "repetition_penalty",
      "encoder_no_repeat_ngram_size",
      "no_repeat_ngram_size",
      "length_penalty",
      "early_stopping",
      "max_length",
      "max_new_tokens",
      "min_length",
      "bad_words_ids",
      "suppress_tokens",
      "begin_suppress_tokens",
      "sep_token_id",
      "decoder_start_token_id",
      "eod_token_id",
      "forced_bos_token_id",
      "forced_eos_token_id",
      "remove_invalid_values",
      "exponential_decay_length_penalty",
      "is_decoder",
      "cross_attention_hidden_size",
      "tie_encoder_decoder",
      "keys_to_ignore_at_inference",
      "gradient_checkpointing",
      "max_sequence_length",
  };
  return names;
}

// Keys of other architectures or of rewrites of these that change what is computed; only a value that leaves the plain
// decoder as it is (one of `accepted`, besides null) may stand there.
struct Rule {
  std::string_view key;
  std::vector<core::Json> accepted;
};

const std::vector<Rule>& rules() {
  using core::Json;
  static const std::vector<Rule> table = {
      {"hidden_act", {"silu", "swish"}},
      {"hidden_activation", {"silu", "swish"}},
      {"attention_bias", {false}},
      {"mlp_bias", {false}},
      {"partial_rotary_factor", {1, 1.0}},
      {"rotary_pct", {1, 1.0}},
      {"rope_interleaved", {false}},
      {"rope_local_base_freq", {}},
      {"no_rope_layers", {}},
      {"no_rope_layer_interval", {0}},
      {"alibi", {false}},
      {"quantization_config", {Json::object()}},
      {"compression_config", {Json::object()}},
      {"pruned_heads", {Json::object()}},
      {"is_encoder_decoder", {false}},
      {"add_cross_attention", {false}},
      {"attention_multiplier", {}},
      {"residual_multiplier", {1, 1.0}},
      {"embedding_multiplier", {1, 1.0}},
      {"logits_scaling", {1, 1.0}},
      {"lm_head_multiplier", {1, 1.0}},
      {"key_multiplier", {1, 1.0}},
      {"logit_scale", {1, 1.0}},
      {"scale_emb", {1, 1.0}},
      {"scale_depth", {}},
      {"dim_model_base", {}},
      {"query_pre_attn_scalar", {}},
      {"attn_logit_softcapping", {0, 0.0}},
      {"final_logit_softcapping", {0, 0.0}},
      {"clip_qkv", {}},
      {"use_qk_norm", {false}},
      {"qk_layernorm", {false}},
      {"use_parallel_residual", {false}},
      {"parallel_attn", {false}},
      {"use_bidirectional_attention", {false}},
      {"activation_function", {"silu", "swish"}},
      {"scale_attn_by_inverse_layer_idx", {false}},
      {"num_experts", {0, 1}},
      {"num_local_experts", {0, 1}},
      {"n_routed_experts", {0}},
      {"moe_intermediate_size", {0}},
      {"attention_chunk_size", {}},
      {"attn_temperature_tuning", {false, 0}},
      {"attention_temperature", {1, 1.0}},
      {"attention_sink", {false, 0}},
      {"per_layer_config", {Json::object()}},
  };
  return table;
}

bool is_dropout(std::string_view key) {
  static const Names names = {"attention_dropout", "hidden_dropout",   "resid_pdrop",       "embd_pdrop", "attn_pdrop",
                              "dropout",           "residual_dropout", "embedding_dropout", "layerdrop"};
  return names.count(key) != 0;
}

}  // namespace

void check_unread_keys(const core::JsonView& json, const std::set<std::string, std::less<>>& asked,
                       DecoderConfig& config) {
  for (const std::string& key : json.keys()) {
    if (asked.count(key) != 0) continue;
    const auto rule = std::find_if(rules().begin(), rules().end(), [&](const Rule& r) { return r.key == key; });
    const core::JsonView value = json.at(key);
    if (rule != rules().end()) {
      const auto& accepted = rule->accepted;
      if (value.is_null() || std::find(accepted.begin(), accepted.end(), value.raw()) != accepted.end()) continue;
      if (key == "quantization_config" || key == "compression_config") refuse_quantised(json, key);
      std::string expected = "null";
      for (const core::Json& v : accepted) expected += fmt::format(" or {}", core::json_text(v));
      throw ModelError(fmt::format("{}: {} changes what a {} model computes and is not supported; expected {}",
                                   value.where(), core::printable(core::json_text(value.raw())), config.model_type, expected));
    }
    if (is_dropout(key)) {
      if (value.is_number() && value.as_double() != 0) {
        config.notes.push_back(
            fmt::format("the base model's own {} of {} is not applied in training", key, value.as_double()));
      }
      continue;
    }
    if (inert_keys().count(key) == 0) config.unknown_keys.push_back(key);
  }
}

}  // namespace lowrank::models
