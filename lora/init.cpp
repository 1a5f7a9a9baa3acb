#include "lowrank/lora/init.h"

#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/random.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::lora {

namespace {

// Numbers [rows, columns] on the host, each of its place.
template <typename T, typename Number>
at::Tensor drawn(std::int64_t rows, std::int64_t columns, const Number& number) {
  std::vector<T> values(static_cast<std::size_t>(rows * columns));
  kernels::for_row_chunks(rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin * columns); i < static_cast<std::size_t>(end * columns); ++i)
      values[i] = static_cast<T>(number(static_cast<std::uint64_t>(i)));
  });
  return kernels::from_host<T>(values, {rows, columns});
}

// A leaf of the adapter's dtype and device.
at::Tensor leaf(const at::Tensor& numbers, const at::TensorOptions& options) {
  return numbers.to(options.device(), c10::typeMetaToScalarType(options.dtype())).set_requires_grad(true);
}

LoraMatrices orthogonal(const std::string& name, std::int64_t in, std::int64_t out, std::int64_t r, std::uint64_t seed,
                        const at::TensorOptions& options) {
  if (r % 2 != 0)
    throw ConfigError(fmt::format("{}: the orthogonal initialisation needs an even rank, found {}", name, r));
  const auto normals = [&](const char* part, std::int64_t rows, std::int64_t columns) {
    const core::RandomStream stream(seed, "lora_init:" + name + part);
    return drawn<double>(rows, columns, [&](std::uint64_t place) { return stream.normal(place); });
  };
  const at::Tensor square = normals(":q", r, r), x = normals(":a", in, r / 2), y = normals(":b", out, r / 2);
  const at::ScalarType dtype = c10::typeMetaToScalarType(options.dtype());
  at::Tensor a, b;
  kernels::for_row_chunks(1, 1, [&](std::int64_t, std::int64_t) {
    const at::Tensor q = kernels::aten::linalg_qr(square).first;
    a = x.matmul(q.slice(0, 0, r, 2)).t().div(10).to(dtype).contiguous();
    b = y.matmul(q.slice(0, 1, r, 2)).div(10).to(dtype).contiguous();
  });
  LoraMatrices result;
  result.a = leaf(a, options);
  result.b = leaf(b, options);
  result.r = r;
  return result;
}

}  // namespace

LoraMatrices new_matrices(const std::string& name, std::int64_t in, std::int64_t out, std::int64_t r,
                          const std::string& init, std::uint64_t seed, at::TensorOptions options) {
  if (init == "orthogonal") return orthogonal(name, in, out, r, seed, options);
  const core::RandomStream stream(seed, "lora_init:" + name);
  const bool gaussian = init == "gaussian";
  const double bound = 1 / std::sqrt(static_cast<double>(in));  // kaiming_uniform(a = √5) on [r, in]
  LoraMatrices result;
  result.a = leaf(drawn<float>(r, in,
                               [&](std::uint64_t place) {
                                 return gaussian ? stream.normal(place) / static_cast<double>(r)
                                                 : (2 * stream.uniform(place) - 1) * bound;
                               }),
                  options);
  result.b = kernels::aten::zeros({out, r}, options).set_requires_grad(true);
  result.r = r;
  return result;
}

LoraMatrices new_embedding_matrices(const std::string& name, std::int64_t vocabulary, std::int64_t width,
                                    std::int64_t r, std::uint64_t seed, at::TensorOptions options) {
  const core::RandomStream stream(seed, "lora_init:" + name);
  LoraMatrices result;
  result.r = r;
  result.a = kernels::aten::zeros({r, vocabulary}, options).set_requires_grad(true);
  result.b = leaf(drawn<float>(width, r, [&](std::uint64_t place) { return stream.normal(place); }), options);
  return result;
}

}  // namespace lowrank::lora
