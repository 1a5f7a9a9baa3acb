#include "lowrank/lora/token_rows.h"

#include <unordered_map>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/lora_linear.h"

namespace lowrank::lora {
namespace {

at::Tensor index_of(const std::vector<std::int64_t>& places, at::Device device) {
  return kernels::from_host<std::int64_t>(places, {static_cast<std::int64_t>(places.size())}, device);
}

}  // namespace

at::Tensor with_token_rows(const at::Tensor& rows, const at::Tensor& ids, const TokenRowsList& adapters) {
  if (!adapters.any_enabled()) return rows;
  at::Tensor result = rows;
  const std::vector<std::int64_t> asked = kernels::to_host<std::int64_t>(ids);
  for (const auto& one : adapters) {
    if (!one.enabled) continue;
    std::unordered_map<std::int64_t, std::int64_t> place;
    for (std::size_t i = 0; i < one.value.ids.size(); ++i)
      place.emplace(one.value.ids[i], static_cast<std::int64_t>(i));
    std::vector<std::int64_t> where, which;
    for (std::size_t t = 0; t < asked.size(); ++t) {
      const auto found = place.find(asked[t]);
      if (found == place.end()) continue;
      where.push_back(static_cast<std::int64_t>(t));
      which.push_back(found->second);
    }
    if (where.empty()) continue;
    const at::Tensor own = kernels::aten::embedding(one.value.values, index_of(which, rows.device()));
    result = result.to(own.scalar_type()).index_copy(0, index_of(where, rows.device()), own);
  }
  return result;
}

at::Tensor with_token_columns(const at::Tensor& z, const at::Tensor& x, const at::Tensor& bias,
                              const TokenRowsList& adapters) {
  at::Tensor result = z;
  for (const auto& one : adapters) {
    if (!one.enabled) continue;
    const at::Tensor index = index_of(one.value.ids, z.device());
    const at::Tensor own_bias = bias.defined() ? bias.index_select(0, index) : at::Tensor();
    const at::Tensor own = kernels::lora_linear(
        x, kernels::BaseWeight::dense(one.value.values.to(x.scalar_type()), own_bias), {}, nullptr);
    result = result.index_copy(1, index, own.to(result.scalar_type()));
  }
  return result;
}

}  // namespace lowrank::lora
