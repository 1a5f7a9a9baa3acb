// The arguments of one of the device's kernels as tensors of the CPU over the same memory, and its results on the way
// back.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <vector>

#include "device/memory.h"

namespace test_device {

class CpuSide {
 public:
  /// A tensor of the CPU that shares the memory of `tensor`, which is open while this lives; the same for the same
  /// argument. A tensor of the CPU is itself.
  at::Tensor argument(const at::Tensor& tensor);

  /// Carries over what the kernel did to sizes, strides and storages of its arguments.
  void write_back();

  /// The device's tensor for a result: the argument that it is, a view where it shares an argument's memory, else a
  /// copy on the device.
  at::Tensor result(const at::Tensor& tensor);

 private:
  struct Pair {
    at::Tensor device;
    at::Tensor cpu;
  };

  c10::Storage cpu_storage(const c10::Storage& storage);
  c10::Storage device_storage(const c10::Storage& storage);

  Opening opening_;
  std::vector<Pair> arguments_;
  std::vector<at::Tensor> passed_through_;
  std::map<const c10::StorageImpl*, c10::Storage> to_cpu_;
  std::map<const c10::StorageImpl*, c10::Storage> to_device_;
};

}  // namespace test_device
