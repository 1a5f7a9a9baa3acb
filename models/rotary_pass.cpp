#include "lowrank/models/rotary_pass.h"

#include <cmath>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/rows.h"
#include "lowrank/models/rope.h"

namespace lowrank::models {
namespace {

// Positions [first, last) of a segment of this length.
struct Stretch {
  std::int64_t first, last, length;
};

kernels::RotaryTables tables_of(const RotarySpec& spec, const std::vector<Stretch>& stretches, at::Device device) {
  std::vector<float> angles, frequencies;
  for (const Stretch& one : stretches) {
    if (spec.by_length() || frequencies.empty()) frequencies = inverse_frequencies(spec, one.length);
    for (std::int64_t position = one.first; position < one.last; ++position) {
      for (const float frequency : frequencies) angles.push_back(static_cast<float>(position) * frequency);
    }
  }
  const std::int64_t width = spec.width / 2, rows = static_cast<std::int64_t>(angles.size()) / width;
  const at::Tensor all = kernels::from_host<float>(angles, {rows, width});
  const at::Tensor cos = kernels::aten::empty({rows, width}, at::kFloat);
  const at::Tensor sin = kernels::aten::empty({rows, width}, at::kFloat);
  const double factor = attention_factor(spec);
  kernels::for_row_chunks(rows, 64, [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor some = all.slice(0, begin, end);
    cos.slice(0, begin, end).copy_(some.cos().mul_(factor));
    sin.slice(0, begin, end).copy_(some.sin().mul_(factor));
  });
  return {kernels::to_device(cos, device), kernels::to_device(sin, device), spec.interleaved};
}

// The tables of queries that grow with their positions.
kernels::RotaryTables grown(const kernels::RotaryTables& tables, const RotarySpec& spec,
                            const std::vector<Stretch>& stretches) {
  std::vector<float> factors;
  for (const Stretch& one : stretches) {
    for (std::int64_t position = one.first; position < one.last; ++position) {
      const auto periods = static_cast<float>(position / spec.query_original);
      factors.push_back(1 + static_cast<float>(*spec.query_beta) * std::log(1 + periods));
    }
  }
  const std::int64_t rows = static_cast<std::int64_t>(factors.size());
  const at::Tensor by_row = kernels::from_host<float>(factors, {rows, 1}, tables.cos.device());
  return {tables.cos.mul(by_row), tables.sin.mul(by_row), tables.interleaved};
}

}  // namespace

RotaryPass::RotaryPass(const std::vector<RotarySpec>& specs, const kernels::Segments& segments, at::Device device) {
  std::vector<Stretch> stretches;
  for (std::int64_t s = 0; s < segments.count(); ++s) {
    const std::int64_t length = segments.k_length(s);
    stretches.push_back({length - segments.q_length(s), length, length});
  }
  for (const RotarySpec& spec : specs) {
    keys_.push_back(tables_of(spec, stretches, device));
    queries_.push_back(spec.query_beta.value_or(0) == 0 ? keys_.back() : grown(keys_.back(), spec, stretches));
  }
}

}  // namespace lowrank::models
