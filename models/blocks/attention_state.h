// Keys and values of tokens already seen, of one attention layer.
#pragma once

#include "lowrank/models/blocks/mixer.h"

namespace lowrank::models {

/// Those of each sequence, [length, Hkv, d]; of fewer bytes than the queries where they are kept so.
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
  explicit AttentionState(KvDtype dtype) : dtype_(dtype) {}

  /// Adds the new k, v [Tq, Hkv, d]; gives all of every sequence, where they lie or, of codes, decoded.
  KeysAndValues append(const at::Tensor& k, const at::Tensor& v, const kernels::Segments& segments);

  void add() override;
  void select(const std::vector<std::int64_t>& kept, const std::vector<std::int64_t>& lengths) override;
  bool rewinds() const override { return true; }

 private:
  // [capacity, Hkv, d], grown by doubling; undefined while empty. `scales`, of codes: [capacity, Hkv, 1].
  struct Rows {
    std::vector<at::Tensor> values, scales;
    at::Tensor append(std::size_t sequence, const at::Tensor& rows, std::int64_t used, KvDtype dtype);
  };

  KvDtype dtype_;
  Rows keys_, values_;
};

}  // namespace lowrank::models
