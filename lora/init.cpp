#include "lowrank/lora/init.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "lowrank/core/random.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::lora {

LoraMatrices new_matrices(const std::string& name, std::int64_t in, std::int64_t out, std::int64_t r,
                          const std::string& init, std::uint64_t seed, at::ScalarType dtype) {
  const core::RandomStream stream(seed, "lora_init:" + name);
  const bool gaussian = init == "gaussian";
  const double bound = 1 / std::sqrt(static_cast<double>(in));  // kaiming_uniform(a = √5) on [r, in]
  at::Tensor a = at::empty({r, in}, at::kFloat);
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
  result.b = at::zeros({out, r}, dtype).set_requires_grad(true);
  result.r = r;
  return result;
}

}  // namespace lowrank::lora
