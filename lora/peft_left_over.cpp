// What else lies in an adapter's file: the base's own tensors, which PEFT saves with it, and what nobody asked for.
#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/peft_loading.h"

namespace lowrank::lora {
namespace {

// Whether a tensor of the file is this model's own: PEFT saves a resized embedding and head with an adapter that does
// not train them.
bool is_own(const Loading& loading, const PathChange& change, const std::string& path, const std::string& name,
            const TensorInfo& info) {
  for (const WholeModule& module : whole_modules(loading.table)) {
    if (change.in_file(module->path()) != path) continue;
    for (const NamedTensor& own : module->base()) {
      if (own.name != name || own.tensor.sizes() != at::IntArrayRef(info.shape)) continue;
      const at::Tensor stored = formats::tensor_view(loading.file, info);
      return stored.to(own.tensor.device(), own.tensor.scalar_type()).equal(own.tensor.detach());
    }
  }
  return false;
}

}  // namespace

void refuse_left_over(const Loading& loading, const Contents& contents, const PathChange& change) {
  for (const auto& [path, tensors] : contents.whole)
    for (const auto& [name, info] : tensors) {
      if (is_own(loading, change, path, name, *info)) continue;
      loading.fail(
          fmt::format("unexpected tensor '{}': modules_to_save and bias in adapter_config.json do not ask for "
                      "it, and it is not this model's own",
                      core::printable(info->name, 200)));
    }
}

void check_redundant(Loading& loading, const Contents& contents, const PathChange& change) {
  for (const auto& [path, info] : contents.redundant) {
    for (const WholeModule& module : whole_modules(loading.table)) {
      if (change.in_file(module->path()) != path || !info->name.ends_with(".base_layer.weight")) continue;
      if (module->base().empty() || module->base().front().name != "weight") continue;
      const at::Tensor own = module->base().front().tensor.detach();
      const at::Tensor stored = formats::tensor_view(loading.file, *info);
      if (stored.sizes() != own.sizes() || !stored.to(own.device(), own.scalar_type()).equal(own))
        loading.fail(
            fmt::format("'{}' is not this model's {}: the adapter was made on a base whose {} was changed (or "
                        "resized), and such a base is not supported{}",
                        core::printable(info->name, 200), module->path(), module->path(), loading.made_for()));
    }
  }
  if (contents.redundant.empty()) return;
  const std::size_t more = contents.redundant.size() - 1;
  loading.notes.push_back(fmt::format("'{}' is a copy of the base's own tensor{}, and was passed over",
                                      core::printable(contents.redundant.begin()->second->name, 200),
                                      more > 0 ? fmt::format(", as are {} more", more) : ""));
}

}  // namespace lowrank::lora
