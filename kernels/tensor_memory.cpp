#include "lowrank/kernels/tensor_memory.h"

#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <cstdint>
#include <cstdlib>

namespace lowrank::kernels {

namespace {

constexpr std::size_t kAlignment = 64;  // LibTorch's own

// What malloc gave stands right before what a tensor gets; malloc's own alignment leaves room for it.
void release(void* memory) {
  if (memory != nullptr) std::free(static_cast<void**>(memory)[-1]);
}

class TensorMemory : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &release, c10::Device(c10::DeviceType::CPU)};
    const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    void* const raw = bytes > SIZE_MAX - 2 * kAlignment ? nullptr : std::malloc(rounded + kAlignment);
    TORCH_CHECK(raw != nullptr, "DefaultCPUAllocator: can't allocate memory: you tried to allocate ", bytes, " bytes.");
    const auto address = (reinterpret_cast<std::uintptr_t>(raw) / kAlignment + 1) * kAlignment;
    void** const memory = reinterpret_cast<void**>(address);
    memory[-1] = raw;
    return {memory, memory, &release, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }
};

}  // namespace

void keep_tensor_memory() {
  static TensorMemory memory;
  c10::SetCPUAllocator(&memory);
}

}  // namespace lowrank::kernels
