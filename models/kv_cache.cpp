#include "lowrank/models/kv_cache.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "lowrank/kernels/aten.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kFirstCapacity = 64;

// Room for `needed` rows, the first `used` of them kept.
void reserve(at::Tensor& buffer, std::int64_t used, std::int64_t needed) {
  if (buffer.size(0) >= needed) return;
  std::int64_t capacity = std::max(kFirstCapacity, buffer.size(0));
  while (capacity < needed) capacity *= 2;
  at::Tensor larger = kernels::aten::empty({capacity, buffer.size(1), buffer.size(2)}, buffer.options());
  larger.slice(0, 0, used).copy_(buffer.slice(0, 0, used));
  buffer = larger;
}

// The buffers at `kept`: the first use of each takes it over, a further one copies its first `lengths` rows.
std::vector<at::Tensor> selected(const std::vector<at::Tensor>& buffers, const std::vector<std::int64_t>& lengths,
                                 const std::vector<std::int64_t>& kept) {
  std::vector<char> taken(buffers.size(), 0);
  std::vector<at::Tensor> result;
  for (const std::int64_t sequence : kept) {
    const auto s = static_cast<std::size_t>(sequence);
    at::Tensor buffer = buffers.at(s);
    if (taken[s] != 0) {
      buffer = kernels::aten::empty(buffers[s].sizes(), buffers[s].options());
      buffer.slice(0, 0, lengths[s]).copy_(buffers[s].slice(0, 0, lengths[s]));
    }
    taken[s] = 1;
    result.push_back(buffer);
  }
  return result;
}

}  // namespace

KvCache::KvCache(const DecoderConfig& config, at::ScalarType dtype, std::int64_t sequences)
    : layers_(static_cast<std::size_t>(config.layers)),
      kv_heads_(config.kv_heads),
      head_dim_(config.head_dim),
      dtype_(dtype) {
  for (std::int64_t s = 0; s < sequences; ++s) add();
}

void KvCache::add() {
  for (Layer& layer : layers_) {
    layer.k.push_back(kernels::aten::empty({0, kv_heads_, head_dim_}, dtype_));
    layer.v.push_back(kernels::aten::empty({0, kv_heads_, head_dim_}, dtype_));
  }
  lengths_.push_back(0);
}

void KvCache::select(const std::vector<std::int64_t>& kept) {
  const at::NoGradGuard no_grad;
  for (Layer& layer : layers_) {
    layer.k = selected(layer.k, lengths_, kept);
    layer.v = selected(layer.v, lengths_, kept);
  }
  std::vector<std::int64_t> lengths;
  for (const std::int64_t sequence : kept) lengths.push_back(lengths_.at(static_cast<std::size_t>(sequence)));
  lengths_ = std::move(lengths);
}

kernels::Segments KvCache::segments(const std::vector<std::int64_t>& q_lengths) const {
  kernels::Segments segments{{0}, {0}};
  for (std::size_t s = 0; s < q_lengths.size(); ++s) {
    segments.q_offsets.push_back(segments.q_offsets.back() + q_lengths[s]);
    segments.k_offsets.push_back(segments.k_offsets.back() + lengths_.at(s) + q_lengths[s]);
  }
  return segments;
}

std::pair<at::Tensor, at::Tensor> KvCache::append(std::int64_t layer_index, const at::Tensor& k, const at::Tensor& v,
                                                  const kernels::Segments& segments) {
  at::NoGradGuard no_grad;
  Layer& layer = layers_[static_cast<std::size_t>(layer_index)];
  std::vector<at::Tensor> all_k, all_v;
  for (std::size_t s = 0; s < lengths_.size(); ++s) {
    const std::int64_t sequence = static_cast<std::int64_t>(s);
    const std::int64_t used = lengths_[s], added = segments.q_length(sequence), total = used + added;
    const std::int64_t from = segments.q_offsets[s];
    for (const auto& [buffer, rows, out] : {std::tuple(&layer.k[s], &k, &all_k), std::tuple(&layer.v[s], &v, &all_v)}) {
      reserve(*buffer, used, total);
      buffer->slice(0, used, total).copy_(rows->slice(0, from, from + added));
      out->push_back(buffer->slice(0, 0, total));
    }
  }
  // The pass ends with the last layer: only then are its tokens cached for the next one.
  if (layer_index + 1 == static_cast<std::int64_t>(layers_.size())) {
    for (std::size_t s = 0; s < lengths_.size(); ++s) lengths_[s] += segments.q_length(static_cast<std::int64_t>(s));
  }
  if (lengths_.size() == 1) return {all_k.front(), all_v.front()};
  return {kernels::aten::cat(all_k), kernels::aten::cat(all_v)};
}

std::int64_t KvCache::length(std::int64_t sequence) const { return lengths_.at(static_cast<std::size_t>(sequence)); }

void KvCache::truncate(std::int64_t tokens, std::int64_t sequence) {
  std::int64_t& length = lengths_.at(static_cast<std::size_t>(sequence));
  length = std::min(length, tokens);
}

}  // namespace lowrank::models
