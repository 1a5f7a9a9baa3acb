// What a decoder keeps of tokens already seen, for generation: a state for each layer, and how long each sequence is.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lowrank/kernels/segments.h"
#include "lowrank/models/blocks/kv_dtype.h"

namespace lowrank::models {

class Mixer;
class MixerState;

class KvCache {
 public:
  explicit KvCache(std::int64_t sequences = 1, KvDtype dtype = KvDtype::kAuto);
  ~KvCache();
  KvCache(KvCache&&) noexcept;
  KvCache& operator=(KvCache&&) noexcept;
  /// Segments for a forward pass of q_lengths new tokens a sequence (aligned with what is cached).
  kernels::Segments segments(const std::vector<std::int64_t>& q_lengths) const;
  std::int64_t length(std::int64_t sequence = 0) const;
  /// Forgets what follows the first `tokens` of a sequence (no more than are cached); all of it, where a layer's state
  /// cannot go back.
  void truncate(std::int64_t tokens, std::int64_t sequence = 0);
  /// The length at which a sequence was longest since it was empty: what is cached may have been read then.
  std::int64_t longest(std::int64_t sequence = 0) const;
  std::int64_t sequences() const { return static_cast<std::int64_t>(lengths_.size()); }
  /// One more sequence after the others, empty.
  void add();
  /// Keeps these sequences in this order; one that comes several times is copied, one that does not come is forgotten.
  void select(const std::vector<std::int64_t>& kept);

  /// The state of a layer, made by its mixer when it is first asked for.
  MixerState& state(std::size_t layer, const Mixer& mixer);
  /// Counts the tokens of a pass, when the last layer has seen them.
  void advance(const kernels::Segments& segments, const std::vector<std::int64_t>& ids);
  /// The tokens that are cached of a sequence.
  const std::vector<std::int64_t>& tokens(std::int64_t sequence) const {
    return tokens_.at(static_cast<std::size_t>(sequence));
  }

 private:
  KvDtype dtype_;
  std::vector<std::unique_ptr<MixerState>> states_;  // by layer
  std::vector<std::int64_t> lengths_;                // tokens cached when the current pass began
  std::vector<std::int64_t> longest_;
  std::vector<std::vector<std::int64_t>> tokens_;
};

}  // namespace lowrank::models
