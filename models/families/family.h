// What differs between families. A family is one small file that fills this in; registry.cpp lists them.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "lowrank/models/config_reader.h"
#include "lowrank/models/description.h"

namespace lowrank::models {

struct Family {
  std::string_view model_type;    // as in config.json: "llama"
  std::string_view architecture;  // "LlamaForCausalLM"
  /// The blocks of a model, from the keys that the family asks for. The members of config that all families share are
  /// set already.
  DecoderSpec (*describe)(ConfigReader& keys, const DecoderConfig& config) = nullptr;

  // transformers' defaults for keys that config.json leaves out.
  std::int64_t default_max_positions = 2048;
  bool default_tied = false;
  /// Its own names of keys: ("hidden_size", "n_embd").
  std::vector<std::pair<std::string_view, std::string_view>> spellings = {};
  /// Of keys that other families require.
  std::vector<std::pair<std::string_view, std::int64_t>> defaults = {};

  // A model of several kinds of input, of which the text part is run: it is described by text_config, of the family
  // that stands there, else of `text_type`; `describe` is not called. Its modules begin with `text_prefix`.
  std::string_view text_type = {};
  std::string_view text_prefix = "model.language_model.";

  /// The family's name of a key.
  std::string_view spelling(std::string_view key) const {
    for (const auto& [common, own] : spellings) {
      if (common == key) return own;
    }
    return key;
  }
};

const Family& cohere2_family();
const Family& ernie4_5_family();
const Family& exaone4_family();
const Family& gemma_family();
const Family& gemma2_family();
const Family& gemma3_family();
const Family& gemma3_text_family();
const Family& gemma4_family();
const Family& gemma4_text_family();
const Family& glm4_family();
const Family& gpt2_family();
const Family& gpt_oss_family();
const Family& gpt_neox_family();
const Family& granite_family();
const Family& hunyuan_v1_dense_family();
const Family& lfm2_family();
const Family& llama_family();
const Family& ministral3_family();
const Family& mistral3_family();
const Family& mistral_family();
const Family& mixtral_family();
const Family& olmo2_family();
const Family& olmo3_family();
const Family& opt_family();
const Family& phi_family();
const Family& phi3_family();
const Family& qwen2_family();
const Family& qwen2_moe_family();
const Family& qwen3_family();
const Family& qwen3_5_family();
const Family& qwen3_5_text_family();
const Family& qwen3_5_moe_family();
const Family& qwen3_5_moe_text_family();
const Family& qwen3_moe_family();
const Family& seed_oss_family();
const Family& smollm3_family();
const Family& stablelm_family();
const Family& starcoder2_family();

/// Every family, in alphabetical order of model_type.
const std::vector<const Family*>& families();
/// ModelError that lists the known types when there is none of this name.
const Family& find_family(std::string_view model_type, std::string_view where);

}  // namespace lowrank::models
