#include "lowrank/lora/init.h"

#include <fmt/format.h>

#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/core/random.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::lora {

namespace {

// Normal numbers [rows, columns] of a stream of their own, fp64.
at::Tensor normals(const std::string& stream, std::uint64_t seed, std::int64_t rows, std::int64_t columns) {
  const core::RandomStream random(seed, stream);
  at::Tensor result = kernels::aten::empty({rows, columns}, at::kDouble);
  double* values = result.mutable_data_ptr<double>();
  kernels::for_row_chunks(rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin * columns; i < end * columns; ++i)
      values[i] = random.normal(static_cast<std::uint64_t>(i));
  });
  return result;
}

LoraMatrices orthogonal(const std::string& name, std::int64_t in, std::int64_t out, std::int64_t r, std::uint64_t seed,
                        at::ScalarType dtype) {
  if (r % 2 != 0)
    throw ConfigError(fmt::format("{}: the orthogonal initialisation needs an even rank, found {}", name, r));
  const std::string stream = "lora_init:" + name;
  const at::Tensor square = normals(stream + ":q", seed, r, r);
  const at::Tensor x = normals(stream + ":a", seed, in, r / 2), y = normals(stream + ":b", seed, out, r / 2);
  LoraMatrices result;
  kernels::for_row_chunks(1, 1, [&](std::int64_t, std::int64_t) {
    const at::Tensor q = kernels::aten::linalg_qr(square).first;
    result.a = x.matmul(q.slice(0, 0, r, 2)).t().div(10).to(dtype).contiguous();
    result.b = y.matmul(q.slice(0, 1, r, 2)).div(10).to(dtype).contiguous();
  });
  result.a.set_requires_grad(true);
  result.b.set_requires_grad(true);
  result.r = r;
  return result;
}

}  // namespace

LoraMatrices new_matrices(const std::string& name, std::int64_t in, std::int64_t out, std::int64_t r,
                          const std::string& init, std::uint64_t seed, at::ScalarType dtype) {
  if (init == "orthogonal") return orthogonal(name, in, out, r, seed, dtype);
  const core::RandomStream stream(seed, "lora_init:" + name);
  const bool gaussian = init == "gaussian";
  const double bound = 1 / std::sqrt(static_cast<double>(in));  // kaiming_uniform(a = √5) on [r, in]
  at::Tensor a = kernels::aten::empty({r, in}, at::kFloat);
  float* values = a.mutable_data_ptr<float>();
  kernels::for_row_chunks(r, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin * in; i < end * in; ++i) {
      const auto place = static_cast<std::uint64_t>(i);
      values[i] = static_cast<float>(gaussian ? stream.normal(place) / static_cast<double>(r)
                                              : (2 * stream.uniform(place) - 1) * bound);
    }
  });
  LoraMatrices result;
  result.a = a.to(dtype).set_requires_grad(true);
  result.b = kernels::aten::zeros({out, r}, dtype).set_requires_grad(true);
  result.r = r;
  return result;
}

LoraMatrices new_embedding_matrices(const std::string& name, const at::Tensor& weight, std::int64_t r,
                                    std::uint64_t seed) {
  const at::ScalarType dtype = weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const core::RandomStream stream(seed, "lora_init:" + name);
  LoraMatrices matrices;
  matrices.r = r;
  matrices.a = kernels::aten::zeros({r, weight.size(0)}, dtype).set_requires_grad(true);
  at::Tensor b = kernels::aten::zeros({weight.size(1), r}, at::kFloat);
  float* values = b.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < b.numel(); ++i)
    values[i] = static_cast<float>(stream.normal(static_cast<std::uint64_t>(i)));
  matrices.b = b.to(dtype).set_requires_grad(true);
  return matrices;
}

}  // namespace lowrank::lora
