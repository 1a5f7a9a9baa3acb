// The beginnings of PiSSA and OLoRA on disk, for a run that goes on.
#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/lora/peft_names.h"

namespace lowrank::lora {
namespace {
constexpr const char* kFile = "initial_adapter.safetensors";
}

void save_initial(const Adapter& adapter, const std::filesystem::path& directory) {
  if (!adapter.config().splits_base()) return;
  std::vector<formats::TensorToWrite> tensors;
  for (const LinearSlot& slot : adapter.slots()) {
    tensors.push_back(formats::tensor_to_write(peft_name(slot->path(), LoraPart::kA), adapter.at(slot).a0));
    tensors.push_back(formats::tensor_to_write(peft_name(slot->path(), LoraPart::kB), adapter.at(slot).b0));
  }
  formats::write_safetensors(directory / kFile, std::move(tensors));
}

void load_initial(Adapter& adapter, const std::filesystem::path& directory) {
  if (!adapter.config().splits_base()) return;
  const auto file = formats::SafetensorsFile::open(directory / kFile);
  const auto read = [&](const std::string& name, const at::Tensor& now) {
    const formats::TensorInfo* info = file->find(name);
    if (info == nullptr || info->shape != now.sizes().vec())
      throw ModelError(
          fmt::format("{} does not hold '{}' in this adapter's shape: the checkpoint is of another adapter",
                      file->path().string(), name));
    return formats::tensor_view(file, *info).to(now.device(), now.scalar_type(), false, /*copy=*/true);
  };
  for (const LinearSlot& slot : adapter.slots()) {
    LoraMatrices& lora = slot->lora(adapter.name());
    lora.a0 = read(peft_name(slot->path(), LoraPart::kA), lora.a0);
    lora.b0 = read(peft_name(slot->path(), LoraPart::kB), lora.b0);
  }
}

}  // namespace lowrank::lora
