// What lets a token see the others of its segment: full attention is one mixer, a linear attention or a short
// convolution would be others, each with a state of its own in the cache.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "lowrank/models/blocks/kv_dtype.h"
#include "lowrank/models/blocks/pass.h"
#include "lowrank/models/blocks/scope.h"

namespace lowrank::models {

/// What one layer's mixer keeps of the sequences of a cache.
class MixerState {
 public:
  virtual ~MixerState() = default;
  /// One more sequence after the others, empty.
  virtual void add() = 0;
  /// Keeps these sequences in this order; one that comes several times is copied. `lengths`: tokens of each that count.
  virtual void select(const std::vector<std::int64_t>& kept, const std::vector<std::int64_t>& lengths) = 0;
  /// Whether the tokens at a sequence's end can be forgotten and the others kept. (Where not, the cache forgets it
  /// whole: a pass in which a segment has as many queries as keys begins anew.)
  virtual bool rewinds() const = 0;
};

class Mixer {
 public:
  virtual ~Mixer() = default;
  /// x [T, d], normed -> [T, d]. With a `state` (of make_state) the segments' keys before their queries are what it
  /// has, and the new ones are added; nothing is recorded for a backward pass then.
  virtual at::Tensor forward(const at::Tensor& x, const LayerPass& pass, MixerState* state) const = 0;
  /// `dtype`: of keys and values, where it keeps any.
  virtual std::unique_ptr<MixerState> make_state(KvDtype dtype) const = 0;
  /// Values that a backward pass keeps of a token, about.
  virtual std::int64_t kept_per_token() const = 0;
  /// The place in Carried::shared that it fills, and the one that it reads.
  virtual std::optional<std::size_t> stores() const { return std::nullopt; }
  virtual std::optional<std::size_t> shares() const { return std::nullopt; }
};

/// What a family says of a mixer.
struct MixerSpec {
  virtual ~MixerSpec() = default;
  /// `width`: of x; `layer`: the scope of the layer.
  virtual std::unique_ptr<Mixer> build(std::int64_t width, const Scope& layer) const = 0;
};

}  // namespace lowrank::models
