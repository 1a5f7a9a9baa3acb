// Flat fp32 buffers: all parameters of a run end to end, or their gradients. Sums go in a fixed order in double:
// LibTorch's own full reductions depend on the number of threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lowrank::kernels {

/// Σ x[i]², Σ |x[i]|, and how many x[i] are exactly 0; x contiguous, fp32 [n].
double sum_of_squares(const at::Tensor& x);
double sum_of_magnitudes(const at::Tensor& x);
std::int64_t count_zeros(const at::Tensor& x);
/// Whether no x[i] is infinite or NaN.
bool all_finite(const at::Tensor& x);

/// to += factor · x.
void add_scaled(const at::Tensor& to, const at::Tensor& x, double factor);
/// mean += rate · (x − mean).
void approach(const at::Tensor& mean, const at::Tensor& x, double rate);
/// x <- sign(x)·max(|x| − threshold, 0): the proximal step of an L1 penalty (soft thresholding).
void soft_threshold(const at::Tensor& x, double threshold);

namespace composite {
double sum_of_squares(const at::Tensor& x);
double sum_of_magnitudes(const at::Tensor& x);
std::int64_t count_zeros(const at::Tensor& x);
bool all_finite(const at::Tensor& x);
void add_scaled(const at::Tensor& to, const at::Tensor& x, double factor);
void approach(const at::Tensor& mean, const at::Tensor& x, double rate);
void soft_threshold(const at::Tensor& x, double threshold);
}  // namespace composite

}  // namespace lowrank::kernels
