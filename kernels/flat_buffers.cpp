#include "lowrank/kernels/flat_buffers.h"

#include <vector>

#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/loops.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

// Elements that a partial sum covers: fixed, so that the order of additions depends on the length alone.
constexpr std::int64_t kChunk = 1 << 14;

bool fused(const at::Tensor& x) { return use_fused(x) && x.scalar_type() == at::kFloat && x.is_contiguous(); }

void check_pair(const at::Tensor& x, const at::Tensor& y) {
  if (x.numel() != y.numel()) throw InternalError("kernels: two flat buffers of one size are expected");
}

double ordered(const at::Tensor& x, double (*sum)(const float*, std::int64_t)) {
  const float* const values = x.const_data_ptr<float>();
  std::vector<double> partial(static_cast<std::size_t>((x.numel() + kChunk - 1) / kChunk));
  for_row_chunks(x.numel(), kChunk, [&](std::int64_t begin, std::int64_t end) {
    partial[static_cast<std::size_t>(begin / kChunk)] = sum(values + begin, end - begin);
  });
  double total = 0;
  for (const double value : partial) total += value;
  return total;
}

}  // namespace

double sum_of_squares(const at::Tensor& x) {
  return fused(x) ? ordered(x, loops::sum_of_squares) : composite::sum_of_squares(x);
}

double sum_of_magnitudes(const at::Tensor& x) {
  return fused(x) ? ordered(x, loops::sum_of_magnitudes) : composite::sum_of_magnitudes(x);
}

std::int64_t count_of_zeros(const at::Tensor& x) {
  if (!fused(x)) return composite::count_of_zeros(x);
  return static_cast<std::int64_t>(ordered(x, loops::count_of_zeros));
}

bool all_finite(const at::Tensor& x) {
  return fused(x) ? ordered(x, loops::sum_of_remainders) == 0 : composite::all_finite(x);
}

void add_scaled(const at::Tensor& x, const at::Tensor& y, double factor) {
  const at::NoGradGuard no_grad;
  check_pair(x, y);
  if (!fused(x) || !fused(y)) return composite::add_scaled(x, y, factor);
  float* const to = x.mutable_data_ptr<float>();
  const float* const from = y.const_data_ptr<float>();
  for_row_chunks(x.numel(), kChunk, [&](std::int64_t begin, std::int64_t end) {
    loops::add_scaled(to + begin, from + begin, end - begin, static_cast<float>(factor));
  });
}

void move_towards(const at::Tensor& mean, const at::Tensor& x, double rate) {
  const at::NoGradGuard no_grad;
  check_pair(mean, x);
  if (!fused(mean) || !fused(x)) return composite::move_towards(mean, x, rate);
  float* const to = mean.mutable_data_ptr<float>();
  const float* const from = x.const_data_ptr<float>();
  for_row_chunks(x.numel(), kChunk, [&](std::int64_t begin, std::int64_t end) {
    loops::move_towards(to + begin, from + begin, end - begin, static_cast<float>(rate));
  });
}

void shrink(const at::Tensor& x, const at::Tensor& origin, double threshold) {
  const at::NoGradGuard no_grad;
  if (origin.defined()) check_pair(x, origin);
  if (!fused(x) || (origin.defined() && !fused(origin))) return composite::shrink(x, origin, threshold);
  float* const to = x.mutable_data_ptr<float>();
  const float* const from = origin.defined() ? origin.const_data_ptr<float>() : nullptr;
  for_row_chunks(x.numel(), kChunk, [&](std::int64_t begin, std::int64_t end) {
    loops::shrink(to + begin, from == nullptr ? nullptr : from + begin, end - begin, static_cast<float>(threshold));
  });
}

void exchange(const at::Tensor& a, const at::Tensor& b) {
  const at::NoGradGuard no_grad;
  check_pair(a, b);
  if (!fused(a) || !fused(b)) return composite::exchange(a, b);
  float *const first = a.mutable_data_ptr<float>(), *const second = b.mutable_data_ptr<float>();
  for_row_chunks(a.numel(), kChunk, [&](std::int64_t begin, std::int64_t end) {
    loops::exchange(first + begin, second + begin, end - begin);
  });
}

namespace composite {

double sum_of_squares(const at::Tensor& x) { return x.detach().to(at::kDouble).square().sum().item<double>(); }

double sum_of_magnitudes(const at::Tensor& x) { return x.detach().to(at::kDouble).abs().sum().item<double>(); }

std::int64_t count_of_zeros(const at::Tensor& x) { return x.detach().eq(0).sum().item<std::int64_t>(); }

// x − x is 0 for every finite x and NaN for the rest.
bool all_finite(const at::Tensor& x) { return x.detach().sub(x.detach()).eq(0).all().item<bool>(); }

void add_scaled(const at::Tensor& x, const at::Tensor& y, double factor) {
  const at::NoGradGuard no_grad;
  x.add_(y.mul(factor));
}

void move_towards(const at::Tensor& mean, const at::Tensor& x, double rate) {
  const at::NoGradGuard no_grad;
  mean.add_(x.sub(mean).mul_(rate));
}

void shrink(const at::Tensor& x, const at::Tensor& origin, double threshold) {
  const at::NoGradGuard no_grad;
  const at::Tensor away = origin.defined() ? x.sub(origin) : x.clone();
  const at::Tensor stays = away.abs().sub_(threshold).le(0);
  x.sub_(away.sign().mul_(threshold));
  x.copy_(origin.defined() ? origin.where(stays, x) : x.masked_fill(stays, 0));
}

void exchange(const at::Tensor& a, const at::Tensor& b) {
  const at::NoGradGuard no_grad;
  const at::Tensor kept = a.clone();
  a.copy_(b);
  b.copy_(kept);
}

}  // namespace composite

}  // namespace lowrank::kernels
