// Sums over flat buffers of parameters and gradients, and what is done to them element by element. Sums go in a fixed
// order in double: LibTorch's own full reductions depend on the number of threads. Nothing is recorded. Each has its
// twin in `composite`, which runs on any device.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lowrank::kernels {

/// Σ x² and Σ |x| over fp32 [n].
double sum_of_squares(const at::Tensor& x);
double sum_of_magnitudes(const at::Tensor& x);
/// How many elements of fp32 [n] are exactly 0.
std::int64_t count_of_zeros(const at::Tensor& x);
/// Whether every element of fp32 [n] is finite.
bool all_finite(const at::Tensor& x);

/// x += factor · y, the product rounded before it is added; fp32 [n], as the rest here.
void add_scaled(const at::Tensor& x, const at::Tensor& y, double factor);
/// mean += rate · (x − mean).
void move_towards(const at::Tensor& mean, const at::Tensor& x, double rate);
/// The proximal step of threshold · Σ |x − origin|: x moves by the threshold towards its origin, and stays there where
/// it is no farther away. An undefined origin is 0.
void shrink(const at::Tensor& x, const at::Tensor& origin, double threshold);
/// The elements of both change places.
void exchange(const at::Tensor& a, const at::Tensor& b);

namespace composite {
double sum_of_squares(const at::Tensor& x);
double sum_of_magnitudes(const at::Tensor& x);
std::int64_t count_of_zeros(const at::Tensor& x);
bool all_finite(const at::Tensor& x);
void add_scaled(const at::Tensor& x, const at::Tensor& y, double factor);
void move_towards(const at::Tensor& mean, const at::Tensor& x, double rate);
void shrink(const at::Tensor& x, const at::Tensor& origin, double threshold);
void exchange(const at::Tensor& a, const at::Tensor& b);
}  // namespace composite

}  // namespace lowrank::kernels
