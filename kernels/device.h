// Where tensors can live and be computed with, by the names that LibTorch has for it.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <string>

namespace lowrank::kernels {

/// `name`: "cpu"; "cuda" or "cuda:1", a GPU that LibTorch's CUDA (or ROCm) build reaches; "auto", a GPU where there is one, else
/// the CPU; "privateuseone", a backend of the program's own. A name without a number is device `local`, over again where there
/// are fewer, so that the processes of one machine spread over its GPUs. ConfigError, a sentence without its subject, for
/// a device that is not there.
at::Device find_device(const std::string& name, int local = 0);

/// Where the elements of a dense fp32 tensor begin, for a library that moves memory of its device; not for the program to read.
/// InternalError for another tensor.
float* device_address(const at::Tensor& tensor);

}  // namespace lowrank::kernels
