#include "lowrank/models/kv_cache.h"

#include <algorithm>
#include <utility>

#include "lowrank/models/blocks/mixer.h"

namespace lowrank::models {

KvCache::KvCache(std::int64_t sequences, KvDtype dtype)
    : dtype_(dtype),
      lengths_(static_cast<std::size_t>(sequences), 0),
      longest_(static_cast<std::size_t>(sequences), 0),
      tokens_(lengths_.size()) {}
KvCache::~KvCache() = default;
KvCache::KvCache(KvCache&&) noexcept = default;
KvCache& KvCache::operator=(KvCache&&) noexcept = default;

MixerState& KvCache::state(std::size_t layer, const Mixer& mixer) {
  if (states_.size() <= layer) states_.resize(layer + 1);
  std::unique_ptr<MixerState>& state = states_[layer];
  if (state == nullptr) {
    state = mixer.make_state(dtype_);
    for (std::size_t s = 0; s < lengths_.size(); ++s) state->add();
  }
  return *state;
}

void KvCache::add() {
  for (const auto& state : states_) state->add();
  lengths_.push_back(0);
  longest_.push_back(0);
  tokens_.emplace_back();
}

void KvCache::select(const std::vector<std::int64_t>& kept) {
  for (const auto& state : states_) state->select(kept, lengths_);
  for (std::vector<std::int64_t>* numbers : {&lengths_, &longest_}) {
    std::vector<std::int64_t> selected;
    for (const std::int64_t sequence : kept) selected.push_back(numbers->at(static_cast<std::size_t>(sequence)));
    *numbers = std::move(selected);
  }
  std::vector<std::vector<std::int64_t>> tokens;
  for (const std::int64_t sequence : kept) tokens.push_back(tokens_.at(static_cast<std::size_t>(sequence)));
  tokens_ = std::move(tokens);
}

kernels::Segments KvCache::segments(const std::vector<std::int64_t>& q_lengths) const {
  kernels::Segments segments{{0}, {0}};
  for (std::size_t s = 0; s < q_lengths.size(); ++s) {
    segments.q_offsets.push_back(segments.q_offsets.back() + q_lengths[s]);
    segments.k_offsets.push_back(segments.k_offsets.back() + lengths_.at(s) + q_lengths[s]);
  }
  return segments;
}

void KvCache::advance(const kernels::Segments& segments, const std::vector<std::int64_t>& ids) {
  for (std::size_t s = 0; s < lengths_.size(); ++s) {
    tokens_[s].insert(tokens_[s].end(), ids.begin() + segments.q_offsets[s], ids.begin() + segments.q_offsets[s + 1]);
    lengths_[s] += segments.q_length(static_cast<std::int64_t>(s));
    longest_[s] = std::max(longest_[s], lengths_[s]);
  }
}

std::int64_t KvCache::length(std::int64_t sequence) const { return lengths_.at(static_cast<std::size_t>(sequence)); }

std::int64_t KvCache::longest(std::int64_t sequence) const { return longest_.at(static_cast<std::size_t>(sequence)); }

void KvCache::truncate(std::int64_t tokens, std::int64_t sequence) {
  std::int64_t& length = lengths_.at(static_cast<std::size_t>(sequence));
  if (tokens >= length) return;
  const bool rewinds = std::all_of(states_.begin(), states_.end(), [](const auto& state) { return state->rewinds(); });
  length = rewinds ? tokens : 0;
  tokens_[static_cast<std::size_t>(sequence)].resize(static_cast<std::size_t>(length));
  if (length == 0) longest_[static_cast<std::size_t>(sequence)] = 0;
}

}  // namespace lowrank::models
