#include "lowrank/formats/safetensors_torch.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <cstring>
#include <string>

#include "lowrank/core/error.h"

namespace lowrank::formats {

at::ScalarType to_torch(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return at::kBool;
    case DType::kU8:
      return at::kByte;
    case DType::kI8:
      return at::kChar;
    case DType::kF8E5M2:
      return at::kFloat8_e5m2;
    case DType::kF8E4M3:
      return at::kFloat8_e4m3fn;
    case DType::kI16:
      return at::kShort;
    case DType::kU16:
      return at::kUInt16;
    case DType::kF16:
      return at::kHalf;
    case DType::kBF16:
      return at::kBFloat16;
    case DType::kI32:
      return at::kInt;
    case DType::kU32:
      return at::kUInt32;
    case DType::kF32:
      return at::kFloat;
    case DType::kF64:
      return at::kDouble;
    case DType::kI64:
      return at::kLong;
    case DType::kU64:
      return at::kUInt64;
  }
  throw InternalError("to_torch: not a DType");
}

DType from_torch(at::ScalarType dtype) {
  for (int i = 0; i <= static_cast<int>(DType::kU64); ++i) {
    if (to_torch(static_cast<DType>(i)) == dtype) return static_cast<DType>(i);
  }
  throw InternalError(std::string("a safetensors file cannot hold tensors of dtype ") + c10::toString(dtype));
}

at::Tensor tensor_view(const std::shared_ptr<const SafetensorsFile>& file, const TensorInfo& info) {
  const at::TensorOptions options = at::TensorOptions().dtype(to_torch(info.dtype)).device(at::kCPU);
  const auto bytes = file->bytes(info);
  if (bytes.empty()) return at::empty(info.shape, options);
  const auto alignment = static_cast<std::uintptr_t>(dtype_bytes(info.dtype));
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignment != 0) {
    // A header whose length is not padded, or one-byte tensors ahead of wider ones: legal, but not in place.
    at::Tensor copy = at::empty(info.shape, options);
    std::memcpy(copy.mutable_data_ptr(), bytes.data(), bytes.size());
    return copy;
  }
  auto* data = const_cast<std::byte*>(bytes.data());  // ATen has no read-only tensor
  return at::from_blob(
      data, info.shape, [file](void*) {}, options);
}

at::Tensor tensor_view(const WeightFiles::Entry& entry) { return tensor_view(entry.file, *entry.info); }

std::span<const std::byte> tensor_bytes(const at::Tensor& tensor) {
  if (!tensor.is_cpu() || !tensor.is_contiguous())
    throw InternalError("tensor_bytes: a contiguous tensor of the CPU is expected");
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

TensorToWrite tensor_to_write(std::string name, const at::Tensor& tensor) {
  TensorToWrite out;
  out.name = std::move(name);
  out.dtype = from_torch(tensor.scalar_type());
  out.shape = tensor.sizes().vec();
  out.produce = [tensor](const std::function<void(std::span<const std::byte>)>& sink) {
    const at::Tensor plain = tensor.detach().to(at::kCPU).contiguous();
    sink(tensor_bytes(plain));
  };
  return out;
}

}  // namespace lowrank::formats
