// What llama.cpp calls a model's layers. Filled by models/, which knows the family.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lowrank::lora {

struct GgufLayout {
  std::string architecture;  // general.architecture
  /// llama.cpp's llama rotates neighbours where Hugging Face's rotates halves: the rows of q and k are in another order.
  bool permuted = false;
  std::int64_t heads = 0, kv_heads = 0;
  /// Whether post_attention_layernorm has the name of a norm behind attention (Gemma 2), not of one before the MLP.
  bool norm_after_attention = false;

  /// "blk.0.attn_q" of "model.layers.0.self_attn.q_proj"; empty where there is no tensor of that kind.
  std::string name_of(const std::string& path) const;
  /// "blk.0.attn_q.weight" of "model.layers.0.self_attn.q_proj"; empty where the architecture has no such tensor.
  std::string tensor_of(const std::string& path) const;
  /// The tensors of all experts that the parts of a parameter of experts are, in their order: "blk.0.ffn_gate_exps.weight"
  /// and "blk.0.ffn_up_exps.weight" of "model.layers.0.mlp.experts.gate_up_proj". Empty for another parameter.
  std::vector<std::string> expert_tensors_of(const std::string& path) const;
  /// Heads whose rows are permuted in the tensor of this path; 0: none.
  std::int64_t permuted_heads(const std::string& path) const;
};

}  // namespace lowrank::lora
