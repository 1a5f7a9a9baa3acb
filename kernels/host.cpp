#include "lowrank/kernels/host.h"

#include <cstring>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"

namespace lowrank::kernels {
namespace {

template <typename T>
constexpr at::ScalarType kDtype = at::kFloat;
template <>
constexpr at::ScalarType kDtype<double> = at::kDouble;
template <>
constexpr at::ScalarType kDtype<std::int64_t> = at::kLong;
template <>
constexpr at::ScalarType kDtype<std::uint8_t> = at::kByte;

// Memory of the CPU from which this device reads by itself. LibTorch gives a pinned block to nobody else before it has been read.
at::Tensor staged(at::IntArrayRef shape, at::ScalarType dtype, at::Device device) {
  return aten::empty(shape, at::TensorOptions(dtype).pinned_memory(device.is_cuda()));
}

}  // namespace

at::Tensor to_device(const at::Tensor& tensor, at::Device device) {
  if (tensor.device() == device) return tensor;
  const bool copied = tensor.is_cpu() && device.is_cuda() && !tensor.is_pinned();
  const at::Tensor from = copied ? staged(tensor.sizes(), tensor.scalar_type(), device).copy_(tensor) : tensor;
  return from.to(device, /*non_blocking=*/tensor.is_cpu());  // what comes back is waited for, or it is read before it is there
}

template <typename T>
std::vector<T> to_host(const at::Tensor& tensor) {
  const at::Tensor dense = tensor.detach().to(at::kCPU).to(kDtype<T>).contiguous();
  const T* const begin = dense.const_data_ptr<T>();
  return std::vector<T>(begin, begin + dense.numel());
}

template <typename T>
at::Tensor from_host(std::span<const T> values, at::IntArrayRef shape, at::Device device) {
  const at::Tensor tensor = staged(shape, kDtype<T>, device);
  if (tensor.numel() != static_cast<std::int64_t>(values.size())) {
    throw InternalError("kernels: from_host was given another number of elements than the shape has");
  }
  if (!values.empty()) std::memcpy(tensor.mutable_data_ptr<T>(), values.data(), values.size_bytes());
  return to_device(tensor, device);
}

template <typename T>
void copy_from_host(const at::Tensor& tensor, std::span<const T> values) {
  tensor.detach().copy_(from_host(values, tensor.sizes()));
}

template std::vector<float> to_host(const at::Tensor&);
template std::vector<double> to_host(const at::Tensor&);
template std::vector<std::int64_t> to_host(const at::Tensor&);
template std::vector<std::uint8_t> to_host(const at::Tensor&);
template at::Tensor from_host(std::span<const float>, at::IntArrayRef, at::Device);
template at::Tensor from_host(std::span<const double>, at::IntArrayRef, at::Device);
template at::Tensor from_host(std::span<const std::int64_t>, at::IntArrayRef, at::Device);
template at::Tensor from_host(std::span<const std::uint8_t>, at::IntArrayRef, at::Device);
template void copy_from_host(const at::Tensor&, std::span<const float>);
template void copy_from_host(const at::Tensor&, std::span<const double>);
template void copy_from_host(const at::Tensor&, std::span<const std::int64_t>);
template void copy_from_host(const at::Tensor&, std::span<const std::uint8_t>);

}  // namespace lowrank::kernels
