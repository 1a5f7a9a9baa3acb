#include "lowrank/kernels/cuda/cuda_kernels.h"

#include <atomic>
#include <string>

#include "lowrank/core/error.h"
#include "lowrank/core/module.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/runtime.h"

namespace lowrank::kernels {

namespace {
std::atomic<const LowrankCuda*> of_tests{nullptr};
}

const LowrankCuda* cuda_kernels(at::Device device) {
  if (mode() != Mode::kFused) return nullptr;
  if (device.is_privateuseone()) return of_tests;
  if (!device.is_cuda()) return nullptr;
  static const LowrankCuda* const loaded = core::loaded_module<LowrankCuda>({"CUDA", "lowrank_cuda.so", "LOWRANK_CUDA"},
                                                                            "lowrank_cuda", LOWRANK_CUDA_MODULE_VERSION);
  return loaded;
}

void take_cuda_kernels(const LowrankCuda* kernels) { of_tests = kernels; }

at::Tensor filled_by_cuda(at::IntArrayRef shape, at::ScalarType dtype, at::Device device,
                          const std::function<int(const LowrankCuda& kernels, const LowrankCudaTarget& to)>& fill) {
  const LowrankCuda* const kernels = cuda_kernels(device);
  if (kernels == nullptr || (dtype != at::kFloat && dtype != at::kBFloat16)) return {};
  const at::Tensor result = aten::empty(shape, at::TensorOptions(dtype).device(device));
  const LowrankCudaTarget to{result.mutable_data_ptr(), dtype == at::kBFloat16 ? 1 : 0, device.has_index() ? device.index() : 0};
  if (const int error = fill(*kernels, to); error != 0) throw InternalError(std::string("CUDA: ") + kernels->text(error));
  return result;
}

}  // namespace lowrank::kernels
