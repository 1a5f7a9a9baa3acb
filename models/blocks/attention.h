// Causal attention inside each segment: one mixer, described by a family.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "lowrank/models/blocks/mixer.h"
#include "lowrank/models/blocks/norm.h"

namespace lowrank::models {

struct AttentionSpec : MixerSpec {
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;  // kv_heads divides heads

  std::string scope = "self_attn", q = "q_proj", k = "k_proj", v = "v_proj", o = "o_proj";
  /// One layer that gives queries, keys and values at once, instead of q, k and v; empty: none.
  std::string fused = "";
  enum class Fusion {
    kBlocks,  // its columns are all queries, all keys, all values (Phi-3, GPT-2)
    kByHead,  // of each head its query, key and value (GPT-NeoX); as many kv_heads as heads
  };
  Fusion fusion = Fusion::kBlocks;
  bool qkv_bias = false, o_bias = false;
  bool transposed = false;  // weights are stored [in, out]
  double o_deviation = 1;   // LinearShape::deviation of o
  bool gate =
      false;  // q gives of each head its query and a gate, by whose sigmoid what it sees is multiplied (Qwen3.5)

  NormSpec q_norm, k_norm, v_norm;    // v's is of each head
  bool keys_are_values = false;       // v is k before its norm; there is no v layer (Gemma 4)
  bool norms_whole_width = false;     // over all heads together (OLMo 2); else over each
  bool norms_after_rotation = false;  // else before

  std::optional<std::size_t> rotary = 0;  // which of DecoderSpec::rotary turns q and k; none: no rotation
  std::optional<std::int64_t> window;     // sliding: a token sees the last so many, itself included
  double scale = 1;                       // on q·k
  double cap = 0;                         // scores s become cap · tanh(s / cap); 0: as they are
  /// Keys and values that layers hand on: this one puts its own at that place, or takes those that are there and has no
  /// k and v itself (Gemma 4).
  std::optional<std::size_t> stores, shares;
  bool sinks = false;  // a parameter "sinks": a learned score of each head that has no value

  std::unique_ptr<Mixer> build(std::int64_t width, const Scope& layer) const override;
};

}  // namespace lowrank::models
