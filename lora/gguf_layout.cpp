#include "lowrank/lora/gguf_layout.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace lowrank::lora {

namespace {

using Name = std::pair<std::string_view, std::string_view>;

// The end of a path in a layer, and llama.cpp's name of that tensor in a block.
constexpr std::array<Name, 34> kInLayer = {{{"self_attn.q_proj", "attn_q"},
                                            {"self_attn.k_proj", "attn_k"},
                                            {"self_attn.v_proj", "attn_v"},
                                            {"self_attn.o_proj", "attn_output"},
                                            {"self_attn.qkv_proj", "attn_qkv"},
                                            {"self_attn.dense", "attn_output"},
                                            {"self_attn.out_proj", "attn_output"},
                                            {"attn.c_attn", "attn_qkv"},
                                            {"attn.c_proj", "attn_output"},
                                            {"attention.query_key_value", "attn_qkv"},
                                            {"attention.dense", "attn_output"},
                                            {"mlp.gate_proj", "ffn_gate"},
                                            {"mlp.up_proj", "ffn_up"},
                                            {"mlp.gate_up_proj", "ffn_up"},
                                            {"mlp.down_proj", "ffn_down"},
                                            {"mlp.c_fc", "ffn_up"},
                                            {"mlp.c_proj", "ffn_down"},
                                            {"mlp.fc1", "ffn_up"},
                                            {"mlp.fc2", "ffn_down"},
                                            {"mlp.dense_h_to_4h", "ffn_up"},
                                            {"mlp.dense_4h_to_h", "ffn_down"},
                                            {"mlp.gate", "ffn_gate_inp"},
                                            {"mlp.shared_expert.gate_proj", "ffn_gate_shexp"},
                                            {"mlp.shared_expert.up_proj", "ffn_up_shexp"},
                                            {"mlp.shared_expert.down_proj", "ffn_down_shexp"},
                                            {"mlp.shared_expert_gate", "ffn_gate_inp_shexp"},
                                            {"self_attn.q_norm", "attn_q_norm"},
                                            {"self_attn.k_norm", "attn_k_norm"},
                                            {"input_layernorm", "attn_norm"},
                                            {"ln_1", "attn_norm"},
                                            {"ln_2", "ffn_norm"},
                                            {"post_attention_layernorm", "ffn_norm"},
                                            {"pre_feedforward_layernorm", "ffn_norm"},
                                            {"post_feedforward_layernorm", "post_ffw_norm"}}};
constexpr std::array<Name, 8> kOutside = {{{"embed_tokens", "token_embd"},
                                           {"wpe", "position_embd"},
                                           {"norm", "output_norm"},
                                           {"ln_f", "output_norm"},
                                           {"wte", "token_embd"},
                                           {"embed_in", "token_embd"},
                                           {"lm_head", "output"},
                                           {"embed_out", "output"}}};

// Parameters of experts, and the tensors that their parts are.
constexpr std::array<std::pair<std::string_view, std::array<std::string_view, 2>>, 2> kExperts = {
    {{"mlp.experts.gate_up_proj", {"ffn_gate_exps", "ffn_up_exps"}}, {"mlp.experts.down_proj", {"ffn_down_exps", ""}}}};

bool ends_with_segment(std::string_view path, std::string_view end) {
  return path == end || (path.ends_with(end) && path[path.size() - end.size() - 1] == '.');
}

/// "blk.0." of "model.layers.0.self_attn.q_proj", of which `end` is the part within a layer; empty: it is in none.
std::string block_of(std::string_view path, std::string_view end) {
  if (!ends_with_segment(path, end) || path.size() <= end.size()) return "";
  const std::string_view before = path.substr(0, path.size() - end.size() - 1);
  const std::string_view number = before.substr(before.rfind('.') + 1);
  if (number.empty() || !std::all_of(number.begin(), number.end(), [](char c) { return c >= '0' && c <= '9'; })) return "";
  return "blk." + std::string(number) + ".";
}

}  // namespace

std::string GgufLayout::name_of(const std::string& path) const {
  for (const auto& [end, name] : kInLayer) {
    const std::string block = block_of(path, end);
    if (block.empty()) continue;
    return block + (norm_after_attention && end == "post_attention_layernorm" ? "post_attention_norm" : std::string(name));
  }
  for (const auto& [end, name] : kOutside)
    if (ends_with_segment(path, end)) return std::string(name);
  return "";
}

std::string GgufLayout::tensor_of(const std::string& path) const {
  const std::string name = name_of(path);
  return name.empty() ? "" : name + ".weight";
}

std::vector<std::string> GgufLayout::expert_tensors_of(const std::string& path) const {
  for (const auto& [end, names] : kExperts) {
    const std::string block = block_of(path, end);
    if (block.empty()) continue;
    std::vector<std::string> tensors;
    for (const std::string_view name : names)
      if (!name.empty()) tensors.push_back(block + std::string(name) + ".weight");
    return tensors;
  }
  return {};
}

std::int64_t GgufLayout::permuted_heads(const std::string& path) const {
  if (!permuted) return 0;
  if (ends_with_segment(path, "self_attn.q_proj")) return heads;
  return ends_with_segment(path, "self_attn.k_proj") ? kv_heads : 0;
}

}  // namespace lowrank::lora
