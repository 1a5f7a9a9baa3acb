// The forms in which a frozen weight takes fewer bytes than its file: each a way to make codes of a weight, and a
// storage that gives the codes' values.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string_view>

#include "lowrank/kernels/base_storage.h"

namespace lowrank::kernels {

enum class BaseForm { kAsStored, kInt8, kNf4 };

/// "auto", "int8", "nf4".
std::string_view form_name(BaseForm form);

/// Bytes of a weight [out, in] in codes.
std::int64_t form_bytes(BaseForm form, std::int64_t out, std::int64_t in);

/// The codes of w [out, in], of any float dtype and strides on the host, as one tensor uint8 [form_bytes]. ModelError
/// where a value is not finite.
at::Tensor encoded(BaseForm form, const at::Tensor& w);

/// W [out, in] from such a tensor, whose bytes are used where they lie (they begin on a multiple of 4). `original`,
/// `device`: as CodedStorage has them.
std::shared_ptr<const BaseStorage> coded_storage(BaseForm form, at::Tensor codes, std::int64_t out, std::int64_t in,
                                                 at::Tensor original = {}, at::Device device = at::kCPU);

}  // namespace lowrank::kernels
