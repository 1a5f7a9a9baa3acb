#include "lowrank/models/blocks/attention_state.h"

#include <ATen/core/grad_mode.h>

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

at::Tensor AttentionState::Rows::append(std::size_t sequence, const at::Tensor& rows, std::int64_t used, KvDtype dtype) {
  const std::int64_t total = used + rows.size(0);
  const auto keep = [&](at::Tensor& buffer, const at::Tensor& kept) {
    reserve(buffer, kept, used, total);
    buffer.slice(0, used, total).copy_(kept);
    return buffer.slice(0, 0, total);
  };
  switch (dtype) {
    case KvDtype::kAuto:
      return keep(values[sequence], rows);
    case KvDtype::kBFloat16:
      return keep(values[sequence], rows.to(at::kBFloat16));
    case KvDtype::kInt8:
      break;
  }
  const at::Tensor wide = rows.to(at::kFloat), scales_of_rows = wide.abs().amax(-1, /*keepdim=*/true);
  // A row of zeros has codes of zero: 0 · (127 / tiny).
  const at::Tensor codes = wide.mul(scales_of_rows.clamp_min(1e-30).reciprocal_().mul_(127)).round_().to(at::kChar);
  const at::Tensor all_codes = keep(values[sequence], codes), all_scales = keep(scales[sequence], scales_of_rows);
  return all_codes.to(at::kFloat).mul_(all_scales.mul(1.0 / 127)).to(rows.scalar_type());
}

void AttentionState::add() {
  for (Rows* const rows : {&keys_, &values_}) {
    rows->values.emplace_back();
    rows->scales.emplace_back();
  }
}

void AttentionState::select(const std::vector<std::int64_t>& kept, const std::vector<std::int64_t>& lengths) {
  const at::NoGradGuard no_grad;
  for (Rows* const rows : {&keys_, &values_}) {
    rows->values = selected(rows->values, lengths, kept);
    rows->scales = selected(rows->scales, lengths, kept);
  }
}

KeysAndValues AttentionState::append(const at::Tensor& k, const at::Tensor& v, const kernels::Segments& segments) {
  const at::NoGradGuard no_grad;
  KeysAndValues all;
  for (std::size_t s = 0; s < keys_.values.size(); ++s) {
    const auto sequence = static_cast<std::int64_t>(s);
    const std::int64_t added = segments.q_length(sequence), used = segments.k_length(sequence) - added;
    const std::int64_t from = segments.q_offsets[s];
    all.keys.push_back(keys_.append(s, k.slice(0, from, from + added), used, dtype_));
    all.values.push_back(values_.append(s, v.slice(0, from, from + added), used, dtype_));
  }
  return all;
}

}  // namespace lowrank::models
