#include "lowrank/models/gguf_architecture.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

#include "lowrank/core/error.h"

namespace lowrank::models {

// From llama.cpp's src/models/*.cpp (load_arch_hparams, load_arch_tensors) and conversion/*.py, October 2026. Where a
// class of its converter derives from that of Llama, q and k are permuted.
const std::map<std::string, GgufArchitecture>& gguf_architectures() {
  using kernels::Activation;
  static const GgufArchitecture llama{
      .name = "llama", .permuted = true, .o_bias = true, .mlp_bias = true, .llama3 = true};
  static const auto changed = [](GgufArchitecture one, const auto& change) {
    change(one);
    return one;
  };
  static const GgufArchitecture gemma{.name = "gemma", .activation = Activation::kGeluTanh, .output = false};
  static const std::map<std::string, GgufArchitecture> all = {
      {"llama", llama},
      {"mistral", llama},
      {"mixtral", changed(llama, [](auto& one) { one.experts = true; })},
      {"granite", changed(llama, [](auto& one) { one.name = "granite", one.multipliers = true; })},
      {"smollm3", {.name = "smollm3", .permuted = true, .llama3 = false}},
      {"qwen2", {.name = "qwen2"}},
      {"qwen3", {.name = "qwen3"}},
      {"qwen2_moe", {.name = "qwen2moe", .experts = true, .routing = kernels::Router::kSoftmax}},
      {"qwen3_moe", {.name = "qwen3moe", .experts = true}},
      {"seed_oss", {.name = "seed_oss", .norm_after_attention = true}},
      {"gemma", gemma},
      {"gemma2", changed(gemma,
                         [](auto& one) {
                           one.name = "gemma2", one.norm_after_attention = one.cap = true;
                           one.window_period = 2, one.wide_scale_layers = 46;
                         })},
      {"gemma3_text", changed(gemma,
                              [](auto& one) {
                                one.name = "gemma3", one.norm_after_attention = one.output = true;
                                one.window_period = 6, one.wide_scale_layers = 62;
                              })},
      {"phi3", {.name = "phi3", .longrope = true}},
      {"olmo2", {.name = "olmo2", .norm_after_attention = true}},
      {"gpt2",
       {.name = "gpt2", .activation = Activation::kGeluTanh, .o_bias = true, .mlp_bias = true, .needs_bias = true}},
      {"starcoder2",
       {.name = "starcoder2",
        .activation = Activation::kGeluTanh,
        .o_bias = true,
        .mlp_bias = true,
        .needs_bias = true}}};
  return all;
}

const GgufArchitecture& gguf_architecture(const std::string& model_type) {
  const auto& all = gguf_architectures();
  const auto found = all.find(model_type);
  if (found != all.end()) return found->second;
  std::vector<std::string> known;
  for (const auto& [type, architecture] : all) known.push_back(type);
  throw ModelError(
      fmt::format("no GGUF file of the family {} is written here (of {} there is): merge the adapter into safetensors, "
                  "and convert the merged model with llama.cpp's own converter, where that knows the family",
                  model_type, fmt::join(known, ", ")));
}

}  // namespace lowrank::models
