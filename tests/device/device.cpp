#include "device/device.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include <optional>
#include <span>
#include <string>
#include <utility>

#include "device/cpu_side.h"
#include "device/memory.h"
#include "device/waits.h"

namespace test_device {
namespace {

constexpr c10::DispatchKeySet kKeys(c10::DispatchKey::PrivateUse1);

// What GPUs refuse: an operand in the CPU's memory. A single number, and the other side of a copy, may be there.
void check_operand(const c10::OperatorHandle& op, const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.is_privateuseone() || tensor.dim() == 0) return;
  const std::string& name = op.operator_name().name;
  TORCH_CHECK(name == "aten::copy_", "test device: ", name, " was given a tensor of the CPU, of shape ",
              tensor.sizes());
}

std::span<c10::IValue> top(torch::jit::Stack* stack, std::size_t count) { return std::span(*stack).last(count); }

// Every operator that LibTorch does not make of others: the CPU's kernel over the device's memory, open meanwhile.
void run(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const std::string& name = op.operator_name().name;
  note_operator(name.c_str());
  note_wait(name, *stack, op.schema().arguments().size());
  CpuSide cpu;
  const auto to_cpu = [&](const at::Tensor& tensor) {
    check_operand(op, tensor);
    return cpu.argument(tensor);
  };
  for (c10::IValue& value : top(stack, op.schema().arguments().size())) {
    if (value.isTensor()) {
      value = to_cpu(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<at::Tensor> tensors;
      for (const at::Tensor& tensor : value.toTensorVector()) tensors.push_back(to_cpu(tensor));
      value = std::move(tensors);
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> tensors;
      for (const std::optional<at::Tensor>& tensor : value.toOptionalTensorVector()) {
        tensors.push_back(tensor ? std::optional(to_cpu(*tensor)) : std::nullopt);
      }
      value = std::move(tensors);
    } else if (value.isDevice() && value.toDevice().is_privateuseone()) {
      value = c10::Device(c10::kCPU);
    }
  }
  {
    const at::AutoDispatchBelowADInplaceOrView below;
    op.callBoxed(stack);
  }
  cpu.write_back();
  for (c10::IValue& value : top(stack, op.schema().returns().size())) {
    if (value.isTensor()) {
      value = cpu.result(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<at::Tensor> tensors;
      for (const at::Tensor& tensor : value.toTensorVector()) tensors.push_back(cpu.result(tensor));
      value = std::move(tensors);
    }
  }
}

at::Tensor empty(c10::IntArrayRef size, std::optional<c10::ScalarType> dtype, std::optional<c10::Layout>,
                 std::optional<c10::Device>, std::optional<bool>, std::optional<c10::MemoryFormat> format) {
  return at::detail::empty_generic(size, &allocator(), kKeys, c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<c10::ScalarType> dtype,
                         std::optional<c10::Layout>, std::optional<c10::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &allocator(), kKeys, c10::dtype_or_default(dtype));
}

at::Tensor& set(at::Tensor& self, c10::Storage source, std::int64_t offset, c10::IntArrayRef size,
                c10::IntArrayRef stride) {
  self.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(source));
  self.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride, offset);
  return self;
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&run>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("set_.source_Storage_storage_offset", &set);
  // What LibTorch would make of others for a device that has no kernel of its own, with other roundings or not at all.
  for (const char* const name : {"copy_", "silu_backward", "mish_backward", "native_layer_norm"}) {
    library.impl(name, torch::CppFunction::makeFromBoxedFunction<&run>());
  }
}

}  // namespace

c10::Device device() {
  report_touches();
  return {c10::DeviceType::PrivateUse1, 0};
}

}  // namespace test_device
