#include "lowrank/kernels/base_form.h"

#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/kernels/int8.h"
#include "lowrank/kernels/nf4.h"

namespace lowrank::kernels {

std::string_view form_name(BaseForm form) {
  switch (form) {
    case BaseForm::kInt8:
      return "int8";
    case BaseForm::kNf4:
      return "nf4";
    case BaseForm::kAsStored:
      break;
  }
  return "auto";
}

std::int64_t form_bytes(BaseForm form, std::int64_t out, std::int64_t in) {
  if (form == BaseForm::kAsStored) throw InternalError("kernels::form_bytes: a weight as it is stored has no codes");
  return form == BaseForm::kNf4 ? nf4_layout(out, in).bytes : int8_bytes(out, in);
}

at::Tensor encoded(BaseForm form, const at::Tensor& w) {
  if (form == BaseForm::kAsStored) throw InternalError("kernels::encoded: a weight as it is stored has no codes");
  return form == BaseForm::kNf4 ? nf4_encoded(w) : int8_encoded(w);
}

std::shared_ptr<const BaseStorage> coded_storage(BaseForm form, at::Tensor codes, std::int64_t out, std::int64_t in,
                                                 at::Tensor original, at::Device device) {
  if (form == BaseForm::kAsStored) throw InternalError("kernels::coded_storage: a weight as it is stored has no codes");
  return form == BaseForm::kNf4 ? nf4_storage(std::move(codes), out, in, std::move(original), device)
                                : int8_storage(std::move(codes), out, in, std::move(original), device);
}

}  // namespace lowrank::kernels
