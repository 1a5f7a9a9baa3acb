// Numbers across the border between tensors and the program's own memory. Code outside kernels/ sees elements of a
// tensor through these alone, so that a model may live where the CPU cannot read.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace lowrank::kernels {

/// The elements of a tensor of any device, shape and strides in row-major order, converted to T: float, double,
/// std::int64_t or std::uint8_t. The program waits for the device here.
template <typename T>
std::vector<T> to_host(const at::Tensor& tensor);

/// A tensor on `device`; one that is there already is itself. From the CPU to a GPU nothing is waited for: it reads pinned memory
/// when it comes to it, after all that was asked of it before.
at::Tensor to_device(const at::Tensor& tensor, at::Device device);

/// A tensor of T's dtype on `device`, as to_device brings it there, with these elements in row-major order. InternalError
/// unless their number is that of `shape`.
template <typename T>
at::Tensor from_host(std::span<const T> values, at::IntArrayRef shape, at::Device device = at::kCPU);

/// The same into a tensor that is there, of any dtype and device.
template <typename T>
void copy_from_host(const at::Tensor& tensor, std::span<const T> values);

}  // namespace lowrank::kernels
