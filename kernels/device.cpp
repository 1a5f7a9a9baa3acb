#include "lowrank/kernels/device.h"

#include <ATen/Context.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <optional>

#include "lowrank/core/error.h"

namespace lowrank::kernels {

namespace {

constexpr const char* kNames = "expected auto, cpu, cuda or cuda:N";

std::optional<at::Device> parsed(const std::string& name) {
  try {
    const at::Device device(name);
    const bool ours = device.is_cpu() || device.is_cuda() || device.is_privateuseone();
    return ours ? std::optional(device) : std::nullopt;
  } catch (const c10::Error&) {
    return std::nullopt;
  }
}

// A CUDA build's guard is there without a GPU too, and counts none then.
const c10::impl::DeviceGuardImplInterface* guard_of(at::DeviceType type) {
  return c10::impl::hasDeviceGuardImpl(type) ? c10::impl::getDeviceGuardImpl(type) : nullptr;
}

int count_of(at::DeviceType type) {
  const auto* const guard = guard_of(type);
  return guard == nullptr ? 0 : static_cast<int>(guard->deviceCount());
}

}  // namespace

at::Device find_device(const std::string& name, int local) {
  if (name == "auto") return count_of(at::kCUDA) > 0 ? find_device("cuda", local) : at::Device(at::kCPU);
  const std::optional<at::Device> device = parsed(name);
  if (!device) throw ConfigError(fmt::format("'{}' is no device that is computed on; {}", name, kNames));
  if (device->is_cpu()) return at::kCPU;
  if (guard_of(device->type()) == nullptr)
    throw ConfigError(fmt::format("the LibTorch of this build has no support for {}; build with one that has (docs/gpu.md), or "
                                  "give cpu",
                                  name));
  const int count = count_of(device->type());
  if (count == 0)
    throw ConfigError(fmt::format("no GPU is found for {}: expected one that the driver shows (nvidia-smi -L) and "
                                  "CUDA_VISIBLE_DEVICES does not hide; or give cpu",
                                  name));
  const int index = device->has_index() ? device->index() : local % count;
  if (index >= count)
    throw ConfigError(count == 1 ? fmt::format("{} is not there; the only one is number 0", name)
                                 : fmt::format("{} is not there; the devices are numbered 0 to {}", name, count - 1));
  at::globalContext().lazyInitDevice(device->type());
  return {device->type(), static_cast<at::DeviceIndex>(index)};
}

float* device_address(const at::Tensor& tensor) {
  if (tensor.scalar_type() != at::kFloat || !tensor.is_contiguous())
    throw InternalError("memory of a device is moved of dense fp32 tensors alone");
  return tensor.mutable_data_ptr<float>();
}

}  // namespace lowrank::kernels
