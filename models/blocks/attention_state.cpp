#include "lowrank/models/blocks/attention_state.h"

#include <ATen/core/grad_mode.h>

#include <tuple>

#include "lowrank/kernels/aten.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kFirstCapacity = 64;

// Room for `needed` rows like those of `rows`, the first `used` of them kept.
void reserve(at::Tensor& buffer, const at::Tensor& rows, std::int64_t used, std::int64_t needed) {
  if (buffer.defined() && buffer.size(0) >= needed) return;
  std::int64_t capacity = buffer.defined() ? buffer.size(0) : kFirstCapacity;
  while (capacity < needed) capacity *= 2;
  at::Tensor larger = kernels::aten::empty({capacity, rows.size(1), rows.size(2)}, rows.options());
  if (used > 0) larger.slice(0, 0, used).copy_(buffer.slice(0, 0, used));
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
    if (taken[s] != 0 && buffer.defined()) {
      buffer = kernels::aten::empty(buffers[s].sizes(), buffers[s].options());
      buffer.slice(0, 0, lengths[s]).copy_(buffers[s].slice(0, 0, lengths[s]));
    }
    taken[s] = 1;
    result.push_back(buffer);
  }
  return result;
}

}  // namespace

void AttentionState::add() {
  buffers_.keys.emplace_back();
  buffers_.values.emplace_back();
}

void AttentionState::select(const std::vector<std::int64_t>& kept, const std::vector<std::int64_t>& lengths) {
  const at::NoGradGuard no_grad;
  buffers_.keys = selected(buffers_.keys, lengths, kept);
  buffers_.values = selected(buffers_.values, lengths, kept);
}

KeysAndValues AttentionState::append(const at::Tensor& k, const at::Tensor& v, const kernels::Segments& segments) {
  const at::NoGradGuard no_grad;
  KeysAndValues all;
  for (std::size_t s = 0; s < buffers_.keys.size(); ++s) {
    const auto sequence = static_cast<std::int64_t>(s);
    const std::int64_t added = segments.q_length(sequence), total = segments.k_length(sequence), used = total - added;
    const std::int64_t from = segments.q_offsets[s];
    for (const auto& [buffer, rows, out] :
         {std::tuple(&buffers_.keys[s], &k, &all.keys), std::tuple(&buffers_.values[s], &v, &all.values)}) {
      reserve(*buffer, *rows, used, total);
      buffer->slice(0, used, total).copy_(rows->slice(0, from, from + added));
      out->push_back(buffer->slice(0, 0, total));
    }
  }
  return all;
}

}  // namespace lowrank::models
