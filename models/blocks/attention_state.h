// Keys and values of tokens already seen, of one attention layer.
#pragma once

#include "lowrank/models/blocks/mixer.h"

namespace lowrank::models {

/// Those of each sequence, [length, Hkv, d].
struct KeysAndValues {
  std::vector<at::Tensor> keys, values;
};

/// Of a layer that reads the keys and values of another.
class NoState : public MixerState {
 public:
  void add() override {}
  void select(const std::vector<std::int64_t>&, const std::vector<std::int64_t>&) override {}
  bool rewinds() const override { return true; }
};

class AttentionState : public MixerState {
 public:
  /// Adds the new k, v [Tq, Hkv, d]; gives all of every sequence, where they lie.
  KeysAndValues append(const at::Tensor& k, const at::Tensor& v, const kernels::Segments& segments);

  void add() override;
  void select(const std::vector<std::int64_t>& kept, const std::vector<std::int64_t>& lengths) override;
  bool rewinds() const override { return true; }

 private:
  KeysAndValues buffers_;  // [capacity, Hkv, d], grown by doubling; undefined while empty
};

}  // namespace lowrank::models
