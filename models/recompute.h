// Which layers are computed again in the backward pass, instead of keeping what they computed.
#pragma once

#include <cstdint>
#include <limits>

namespace lowrank::models {

/// The first n of the layers with a gradient; the result is the same to the bit for any n.
class Recompute {
 public:
  Recompute(bool all = false) : layers_(all ? std::numeric_limits<std::int64_t>::max() : 0) {}  // NOLINT: yes or no
  static Recompute first(std::int64_t layers) {
    Recompute result;
    result.layers_ = layers;
    return result;
  }
  /// Whether the layer at this place among those with a gradient is.
  bool takes(std::int64_t place) const { return place < layers_; }
  bool any() const { return layers_ > 0; }
  /// Of so many with a gradient.
  std::int64_t of(std::int64_t layers) const { return layers_ < layers ? layers_ : layers; }

 private:
  std::int64_t layers_;
};

}  // namespace lowrank::models
