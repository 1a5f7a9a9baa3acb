// Tensors over safetensors bytes, without a copy.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "lowrank/formats/safetensors.h"

namespace lowrank::formats {

at::ScalarType to_torch(DType dtype);
DType from_torch(at::ScalarType dtype);

/// A tensor over the mapped bytes (the mapping lives as long as the tensor). Read-only: writing to it faults.
at::Tensor tensor_view(const std::shared_ptr<const SafetensorsFile>& file, const TensorInfo& info);
at::Tensor tensor_view(const WeightFiles::Entry& entry);

/// The bytes of a contiguous tensor of the CPU, as long as it lives; InternalError for another one.
std::span<const std::byte> tensor_bytes(const at::Tensor& tensor);

/// For write_safetensors: `tensor` is made contiguous on the CPU when its turn comes.
TensorToWrite tensor_to_write(std::string name, const at::Tensor& tensor);

}  // namespace lowrank::formats
