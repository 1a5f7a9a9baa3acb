#include "device/cpu_side.h"

#include <c10/core/CPUAllocator.h>

#include <cstring>

namespace test_device {
namespace {

// A tensor of the same dtype and shape over another storage.
at::Tensor over(const c10::Storage& storage, c10::DispatchKey key, const at::Tensor& like) {
  at::Tensor tensor =
      at::detail::make_tensor<c10::TensorImpl>(c10::Storage(storage), c10::DispatchKeySet(key), like.dtype());
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
  return tensor;
}

}  // namespace

c10::Storage CpuSide::cpu_storage(const c10::Storage& storage) {
  c10::Storage& found = to_cpu_[storage.unsafeGetStorageImpl()];
  if (!found) {
    void* const begin = storage.data_ptr().get();
    opening_.add(begin);
    found = c10::Storage(c10::Storage::use_byte_size_t(), storage.nbytes(), at::DataPtr(begin, at::kCPU),
                         c10::GetCPUAllocator(), /*resizable=*/true);
    to_device_[found.unsafeGetStorageImpl()] = storage;
  }
  return found;
}

// The storage whose memory the kernel worked in; a copy of one that the kernel allocated.
c10::Storage CpuSide::device_storage(const c10::Storage& storage) {
  c10::Storage& found = to_device_[storage.unsafeGetStorageImpl()];
  if (!found) {
    found = c10::Storage(c10::Storage::use_byte_size_t(), 0, allocator().allocate(0), &allocator(), /*resizable=*/true);
  }
  const void* const written = storage.data_ptr().get();
  if (found.data_ptr().get() != written) {  // new, or grown by the kernel
    at::DataPtr data = allocator().allocate(storage.nbytes());
    Opening opening;
    opening.add(data.get());
    if (storage.nbytes() > 0) std::memcpy(data.get(), written, storage.nbytes());
    found.set_data_ptr_noswap(std::move(data));
    found.set_nbytes(storage.nbytes());
  }
  return found;
}

at::Tensor CpuSide::argument(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_privateuseone()) {
    passed_through_.push_back(tensor);
    return tensor;
  }
  for (const Pair& pair : arguments_) {
    if (pair.device.is_same(tensor)) return pair.cpu;
  }
  const at::Tensor cpu = over(cpu_storage(tensor.storage()), c10::DispatchKey::CPU, tensor);
  arguments_.push_back({tensor, cpu});
  return cpu;
}

void CpuSide::write_back() {
  for (const Pair& pair : arguments_) {
    c10::TensorImpl* const impl = pair.device.unsafeGetTensorImpl();
    const c10::Storage storage = device_storage(pair.cpu.storage());
    if (!storage.is_alias_of(pair.device.storage())) impl->set_storage_keep_dtype(storage);
    impl->set_sizes_and_strides(pair.cpu.sizes(), pair.cpu.strides(), pair.cpu.storage_offset());
  }
}

at::Tensor CpuSide::result(const at::Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  for (const at::Tensor& argument : passed_through_) {
    if (argument.is_same(tensor)) return tensor;
  }
  for (const Pair& pair : arguments_) {
    if (pair.cpu.is_same(tensor)) return pair.device;
  }
  return over(device_storage(tensor.storage()), c10::DispatchKey::PrivateUse1, tensor);
}

}  // namespace test_device
