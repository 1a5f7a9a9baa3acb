#include "lowrank/kernels/flat_buffer.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/dispatch.h"

namespace lowrank::kernels {

namespace {

// Elements that a partial sum covers; fixed, so that the order of additions depends on the length alone.
constexpr std::int64_t kChunk = 1 << 14;

bool use_loops(const at::Tensor& x) {
  if (x.scalar_type() != at::kFloat || !x.is_contiguous()) {
    throw InternalError("kernels: a flat buffer is contiguous and fp32");
  }
  return use_fused(x);
}

// Σ term(x[i]). Eight running sums a chunk (they vectorise), added in order; then the chunks in order.
template <typename Term>
double ordered_sum(const at::Tensor& tensor, Term term) {
  const float* const x = tensor.const_data_ptr<float>();
  const std::int64_t n = tensor.numel(), chunks = (n + kChunk - 1) / kChunk;
  std::vector<double> partial(static_cast<std::size_t>(chunks), 0.0);
  at::parallel_for(0, chunks, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t c = first; c < last; ++c) {
      const std::int64_t begin = c * kChunk, end = std::min(n, begin + kChunk);
      double lane[8] = {};
      std::int64_t i = begin;
      for (; i + 8 <= end; i += 8) {
        for (int k = 0; k < 8; ++k) lane[k] += term(x[i + k]);
      }
      double sum = 0;
      for (const double value : lane) sum += value;
      for (; i < end; ++i) sum += term(x[i]);
      partial[static_cast<std::size_t>(c)] = sum;
    }
  });
  double total = 0;
  for (const double value : partial) total += value;
  return total;
}

// f(x[i]) or f(x[i], y[i]) for every i, in parallel.
template <typename F>
void for_each(const at::Tensor& tensor, F f) {
  float* const x = tensor.mutable_data_ptr<float>();
  at::parallel_for(0, tensor.numel(), kChunk, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) f(x[i]);
  });
}
template <typename F>
void for_each(const at::Tensor& tensor, const at::Tensor& other, F f) {
  float* const x = tensor.mutable_data_ptr<float>();
  const float* const y = other.const_data_ptr<float>();
  at::parallel_for(0, tensor.numel(), kChunk, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) f(x[i], y[i]);
  });
}

}  // namespace

double sum_of_squares(const at::Tensor& x) {
  if (!use_loops(x)) return composite::sum_of_squares(x);
  return ordered_sum(x, [](float v) { return static_cast<double>(v) * static_cast<double>(v); });
}

double sum_of_magnitudes(const at::Tensor& x) {
  if (!use_loops(x)) return composite::sum_of_magnitudes(x);
  return ordered_sum(x, [](float v) { return std::fabs(static_cast<double>(v)); });
}

std::int64_t count_zeros(const at::Tensor& x) {
  if (!use_loops(x)) return composite::count_zeros(x);
  return static_cast<std::int64_t>(ordered_sum(x, [](float v) { return v == 0.0F ? 1.0 : 0.0; }));
}

bool all_finite(const at::Tensor& x) {
  if (!use_loops(x)) return composite::all_finite(x);
  // x - x is 0 for every finite x and NaN for the rest, and a NaN stays in the sum.
  return ordered_sum(x, [](float v) { return static_cast<double>(v - v); }) == 0;
}

void add_scaled(const at::Tensor& to, const at::Tensor& x, double factor) {
  if (!use_loops(to)) return composite::add_scaled(to, x, factor);
  for_each(to, x, [f = static_cast<float>(factor)](float& t, float v) { t += f * v; });
}

void approach(const at::Tensor& mean, const at::Tensor& x, double rate) {
  if (!use_loops(mean)) return composite::approach(mean, x, rate);
  for_each(mean, x, [r = static_cast<float>(rate)](float& m, float v) { m += r * (v - m); });
}

void soft_threshold(const at::Tensor& x, double threshold) {
  if (!use_loops(x)) return composite::soft_threshold(x, threshold);
  for_each(x, [t = static_cast<float>(threshold)](float& v) {
    const float left = std::fabs(v) - t;
    v = left > 0 ? std::copysign(left, v) : 0.0F;
  });
}

namespace composite {

namespace {

// The last of the running sums along a dimension: LibTorch's go in order, where its sums do not.
at::Tensor running(const at::Tensor& x, std::int64_t dim) { return x.cumsum(dim).select(dim, -1); }

// Terms [chunks, m], m a multiple of 8: a chunk's eight running sums, added in order.
at::Tensor chunk_sums(const at::Tensor& terms) {
  return running(running(terms.unflatten(1, {terms.size(1) / 8, 8}), 1), 1);
}

// The sum of terms [n] in fp64 in ordered_sum's order.
double summed(const at::Tensor& terms) {
  const std::int64_t n = terms.size(0), whole = n / kChunk * kChunk, lanes = (n - whole) / 8 * 8;
  at::Tensor rest = aten::zeros({1}, terms.options());
  if (lanes > 0) rest = chunk_sums(terms.narrow(0, whole, lanes).unsqueeze(0));
  rest = running(aten::cat({rest, terms.narrow(0, whole + lanes, n - whole - lanes)}), 0).unsqueeze(0);
  if (whole == 0) return rest.item<double>();
  return running(aten::cat({chunk_sums(terms.narrow(0, 0, whole).unflatten(0, {whole / kChunk, kChunk})), rest}), 0)
      .item<double>();
}

}  // namespace

double sum_of_squares(const at::Tensor& x) {
  const at::Tensor wide = x.detach().to(at::kDouble);
  return summed(wide.mul(wide));
}

double sum_of_magnitudes(const at::Tensor& x) { return summed(x.detach().to(at::kDouble).abs()); }

std::int64_t count_zeros(const at::Tensor& x) { return x.eq(0).sum().item<std::int64_t>(); }

bool all_finite(const at::Tensor& x) { return x.isfinite().all().item<bool>(); }

void add_scaled(const at::Tensor& to, const at::Tensor& x, double factor) { to.detach().add_(x.mul(factor)); }

void approach(const at::Tensor& mean, const at::Tensor& x, double rate) { mean.detach().add_(x.sub(mean).mul(rate)); }

void soft_threshold(const at::Tensor& x, double threshold) {
  x.detach().copy_(x.abs().sub(threshold).clamp_min(0).mul(x.sign()));
}

}  // namespace composite

}  // namespace lowrank::kernels
