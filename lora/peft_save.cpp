#include <algorithm>
#include <map>

#include "lowrank/core/error.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/lora/peft_names.h"
#include "lowrank/lora/peft_tensors.h"

namespace lowrank::lora {

namespace {

// What the file holds: the adapter's parameters, of PiSSA and OLoRA those of the plain LoRA.
std::vector<NamedTensor> saved_tensors(const Adapter& adapter) {
  std::vector<NamedTensor> result = adapter.parameters();
  for (NamedTensor& one : adapter.saved_beside()) result.push_back(std::move(one));
  if (!adapter.config().splits_base()) return result;
  std::map<std::string, at::Tensor> converted;
  for (const LinearSlot& slot : adapter.slots()) {
    const LoraMatrices lora = plain(adapter.at(slot));
    converted[peft_name(slot->path(), LoraPart::kA)] = lora.a;
    converted[peft_name(slot->path(), LoraPart::kB)] = lora.b;
  }
  for (NamedTensor& parameter : result) {
    const auto lora = converted.find(parameter.name);
    if (lora != converted.end()) parameter.tensor = lora->second;
  }
  return result;
}

}  // namespace

void save_peft(const Adapter& adapter, const std::filesystem::path& directory) {
  if (adapter.slots().empty() && adapter.experts().empty() && !adapter.adapts_embedding() &&
      adapter.token_rows().empty() && adapter.whole().empty())
    throw InternalError("an adapter that is attached nowhere was to be saved");
  std::vector<NamedTensor> tensors = saved_tensors(adapter);
  for (NamedTensor& saved : tensors) saved.tensor = saved.tensor.detach().to(at::kFloat);
  write_peft(tensors, adapter.config(), directory);
}

std::uint64_t peft_bytes(const Adapter& adapter) {
  // As write_safetensors lays it out: 8 bytes of length, the header as JSON padded to 8, the data in order of names.
  std::vector<NamedTensor> parameters = saved_tensors(adapter);
  std::sort(parameters.begin(), parameters.end(),
            [](const NamedTensor& a, const NamedTensor& b) { return a.name < b.name; });
  std::uint64_t offset = 0;
  std::string header = R"({"__metadata__":{"format":"pt"})";
  for (const NamedTensor& parameter : parameters) {
    const std::uint64_t end = offset + 4 * static_cast<std::uint64_t>(parameter.tensor.numel());
    header += fmt::format(R"(,"{}":{{"dtype":"F32","shape":[{}],"data_offsets":[{},{}]}})", parameter.name,
                          fmt::join(parameter.tensor.sizes().vec(), ","), offset, end);
    offset = end;
  }
  const std::uint64_t length = (header.size() + 1 + 7) / 8 * 8;
  return 8 + length + offset;
}

}  // namespace lowrank::lora
