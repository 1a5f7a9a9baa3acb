// Keys and values of tokens already seen, for generation.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "lowrank/kernels/segments.h"
#include "lowrank/models/config.h"

namespace lowrank::models {

class KvCache {
 public:
  KvCache(const DecoderConfig& config, at::ScalarType dtype, std::int64_t sequences = 1);
  /// Segments for a forward pass of q_lengths new tokens a sequence (aligned with what is cached).
  kernels::Segments segments(const std::vector<std::int64_t>& q_lengths) const;
  /// Adds the new k, v [Tq, Hkv, d] of a layer; gives the flat k, v [Tk, Hkv, d] of all sequences.
  std::pair<at::Tensor, at::Tensor> append(std::int64_t layer, const at::Tensor& k, const at::Tensor& v,
                                           const kernels::Segments& segments);
  std::int64_t length(std::int64_t sequence = 0) const;
  /// Forgets what follows the first `tokens` of a sequence (no more than are cached).
  void truncate(std::int64_t tokens, std::int64_t sequence = 0);
  std::int64_t sequences() const { return static_cast<std::int64_t>(lengths_.size()); }
  /// One more sequence after the others, empty.
  void add();
  /// Keeps these sequences in this order; one that comes several times is copied, one that does not come is forgotten.
  void select(const std::vector<std::int64_t>& kept);

 private:
  struct Layer {
    std::vector<at::Tensor> k, v;  // per sequence, [capacity, Hkv, d], grown by doubling
  };
  std::vector<Layer> layers_;
  std::vector<std::int64_t> lengths_;  // tokens cached when the current pass began
  std::int64_t kv_heads_, head_dim_;
  at::ScalarType dtype_;
};

}  // namespace lowrank::models
