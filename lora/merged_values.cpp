#include "lowrank/lora/merged_values.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/delta.h"

namespace lowrank::lora {

namespace {

/// The stored tensor with W's rows first, a view.
at::Tensor rows_first(const formats::WeightFiles::Entry& source, const Change& change) {
  const at::Tensor stored = formats::tensor_view(source);
  if (stored.dim() == 3) return stored.view({-1, stored.size(2)});
  return change.transposed ? stored.t() : stored;
}

}  // namespace

std::int64_t value_rows(const formats::WeightFiles::Entry& source, const Change& change) {
  const std::vector<std::int64_t>& shape = source.info->shape;
  if (shape.size() == 3) return shape[0] * shape[1];
  return change.transposed ? shape[1] : shape[0];
}

at::Tensor merged_values(const formats::WeightFiles::Entry& source, const Change& change, std::int64_t begin,
                         std::int64_t end) {
  const at::Tensor stored = rows_first(source, change);
  const auto refuse = [&](const char* what) {
    throw ModelError(
        fmt::format("{}: '{}' {}", source.file->path().string(), core::printable(source.info->name, 200), what));
  };
  if (!stored.is_floating_point()) refuse("holds no floating-point numbers");
  at::Tensor values = stored.slice(0, begin, end).to(at::kFloat).contiguous();
  if (values.is_alias_of(stored)) values = values.clone();
  for (const RowChange& part : change.parts) {
    const std::int64_t first = std::max(begin, part.row_begin), last = std::min(end, part.row_begin + part.rows);
    if (first >= last) continue;
    at::Tensor own = values.slice(0, first - begin, last - begin);
    const std::int64_t from = first - part.row_begin, until = last - part.row_begin;
    if (!part.replacement.defined()) {
      own.copy_(merged_rows(part.rows_before(own, from), part.lora, from, until));
    } else {
      own.copy_((change.transposed ? part.replacement.t() : part.replacement).slice(0, from, until));
    }
  }
  if (!values.isfinite().all().item<bool>()) refuse("has values that are not finite, with the adapter in it");
  return values;
}

}  // namespace lowrank::lora
