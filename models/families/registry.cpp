#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/models/families/family.h"

namespace lowrank::models {

const std::vector<const Family*>& families() {
  static const std::vector<const Family*> all = {
      &cohere2_family(),
      &ernie4_5_family(),
      &exaone4_family(),
      &gemma_family(),
      &gemma2_family(),
      &gemma3_family(),
      &gemma3_text_family(),
      &gemma4_family(),
      &gemma4_text_family(),
      &glm4_family(),
      &gpt2_family(),
      &gpt_neox_family(),
      &gpt_oss_family(),
      &granite_family(),
      &hunyuan_v1_dense_family(),
      &lfm2_family(),
      &llama_family(),
      &ministral3_family(),
      &mistral_family(),
      &mistral3_family(),
      &mixtral_family(),
      &olmo2_family(),
      &olmo3_family(),
      &opt_family(),
      &phi_family(),
      &phi3_family(),
      &qwen2_family(),
      &qwen2_moe_family(),
      &qwen3_family(),
      &qwen3_5_family(),
      &qwen3_5_moe_family(),
      &qwen3_5_moe_text_family(),
      &qwen3_5_text_family(),
      &qwen3_moe_family(),
      &seed_oss_family(),
      &smollm3_family(),
      &stablelm_family(),
      &starcoder2_family(),
  };
  return all;
}

std::vector<std::string> known_model_types() {
  std::vector<std::string> names;
  for (const Family* family : families()) names.emplace_back(family->model_type);
  return names;
}

const Family& find_family(std::string_view model_type, std::string_view where) {
  for (const Family* family : families()) {
    if (family->model_type == model_type) return *family;
  }
  const std::vector<std::string> known = known_model_types();
  throw ModelError(fmt::format("{}: model_type '{}' is not supported{}; the known ones are {}", where,
                               core::printable(model_type), core::did_you_mean(model_type, known),
                               fmt::join(known, ", ")));
}

}  // namespace lowrank::models
