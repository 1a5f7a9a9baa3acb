#include "lowrank/kernels/packed_weight.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <optional>
#include <string>

namespace lowrank::kernels {

namespace {

std::optional<c10::OperatorHandle> find(const char* name) {
  return c10::Dispatcher::singleton().findSchema({name, ""});
}

}  // namespace

at::Tensor pack_weight(const at::Tensor& w, std::int64_t rows) {
  static const auto reorder = find("mkldnn::_reorder_linear_weight");
  static const auto product = find("mkldnn::_linear_pointwise");
  if (!reorder || !product) return {};
  torch::jit::Stack stack{w, rows};
  try {
    reorder->callBoxed(&stack);
  } catch (const c10::Error&) {
    return {};  // this CPU or build has no packed form for the dtype
  }
  return stack[0].toTensor();
}

at::Tensor packed_product(const at::Tensor& x, const at::Tensor& packed) {
  static const auto product = find("mkldnn::_linear_pointwise");
  torch::jit::Stack stack{x,
                          packed,
                          c10::IValue(),
                          std::string("none"),
                          c10::impl::GenericList(c10::OptionalType::create(c10::NumberType::get())),
                          std::string()};
  product->callBoxed(&stack);
  return stack[0].toTensor();
}

bool onednn_allows_bf16() {
  const auto supported = find("mkldnn::_is_mkldnn_bf16_supported");
  if (!supported) return true;
  torch::jit::Stack stack;
  supported->callBoxed(&stack);
  return stack.empty() || stack.back().toBool();
}

}  // namespace lowrank::kernels
