#include "lowrank/train/delta_penalties.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "lowrank/kernels/rows.h"
#include "lowrank/lora/delta.h"

namespace lowrank::train {
namespace {

// f(i) for every layer, each by one thread: LibTorch's products and sums depend on the number of threads otherwise.
void for_layers(std::size_t count, const std::function<void(std::size_t)>& f) {
  kernels::for_row_chunks(static_cast<std::int64_t>(count), 1, [&](std::int64_t first, std::int64_t last) {
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) f(i);
  });
}

// The gradients of one layer in fp64, rounded once when they are added.
struct Gradients {
  at::Tensor a, b;
};

double add_l2(const lora::Factors& layer, const lora::Grams& grams, double weight, Gradients& out) {
  const double factor = weight * layer.scale * layer.scale;
  out.a.add_(grams.b.matmul(layer.matrix_a().to(at::kDouble)), factor);
  out.b.add_(layer.matrix_b().to(at::kDouble).matmul(grams.a), factor);
  return factor / 2 * grams.a.mul(grams.b).sum().item<double>();
}

double add_l1(const lora::Factors& layer, double weight, Gradients& out) {
  const at::Tensor a = layer.matrix_a().to(at::kDouble), b = layer.matrix_b().to(at::kDouble);
  const std::int64_t rows = b.size(0), block = lora::rows_per_block(a.size(1));
  const double factor = weight * std::abs(layer.scale);
  double sum = 0;
  for (std::int64_t begin = 0; begin < rows; begin += block) {
    const std::int64_t end = std::min(begin + block, rows);
    const at::Tensor b_rows = b.slice(0, begin, end);
    at::Tensor delta = b_rows.matmul(a);
    const at::Tensor sign = delta.sign();
    sum += delta.abs_().sum().item<double>();
    out.a.add_(b_rows.t().matmul(sign), factor);
    out.b.slice(0, begin, end).add_(sign.matmul(a.t()), factor);
  }
  return factor * sum;
}

double add_orthogonality(const lora::Factors& layer, const lora::Grams& grams, double weight, Gradients& out) {
  const at::Tensor one = grams.a.new_zeros(grams.a.sizes()).fill_diagonal_(1);
  const at::Tensor off_a = grams.a.sub(one), off_b = grams.b.sub(one);
  out.a.add_(off_a.matmul(layer.matrix_a().to(at::kDouble)), 4 * weight);
  out.b.add_(layer.matrix_b().to(at::kDouble).matmul(off_b), 4 * weight);
  return weight * (off_a.square().sum().item<double>() + off_b.square().sum().item<double>());
}

double add_penalties(const lora::Factors& layer, const DeltaPenalties& penalties) {
  const at::Tensor a = layer.matrix_a(), b = layer.matrix_b();
  Gradients gradients{a.new_zeros(a.sizes(), at::kDouble), b.new_zeros(b.sizes(), at::kDouble)};
  const lora::Grams grams = lora::grams_of(layer);
  double value = 0;
  if (penalties.l1 != 0) value += add_l1(layer, penalties.l1, gradients);
  if (penalties.l2 != 0) value += add_l2(layer, grams, penalties.l2, gradients);
  if (penalties.orthogonality != 0) value += add_orthogonality(layer, grams, penalties.orthogonality, gradients);
  layer.gradient_a().add_(gradients.a.to(at::kFloat));
  layer.gradient_b().add_(gradients.b.to(at::kFloat));
  return value;
}

}  // namespace

double add_delta_penalties(const std::vector<lora::Factors>& layers, const DeltaPenalties& penalties) {
  const at::NoGradGuard no_grad;
  std::vector<double> values(layers.size(), 0.0);
  for_layers(layers.size(), [&](std::size_t i) { values[i] = add_penalties(layers[i], penalties); });
  double sum = 0;
  for (const double value : values) sum += value;
  return sum;
}

void cap_delta_norms(const std::vector<lora::Factors>& layers, double largest) {
  const at::NoGradGuard no_grad;
  for_layers(layers.size(), [&](std::size_t i) {
    const double norm = lora::delta_norm(layers[i]);
    if (!(norm > largest)) return;
    const double factor = std::sqrt(largest / norm);
    layers[i].matrix_a().mul_(factor);
    layers[i].matrix_b().mul_(factor);
  });
}

}  // namespace lowrank::train
