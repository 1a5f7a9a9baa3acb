#include "lowrank/lora/peft_tensors.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/safetensors_torch.h"

namespace lowrank::lora {
namespace {

constexpr const char* kWeights = "adapter_model.safetensors";
constexpr const char* kConfig = "adapter_config.json";

}  // namespace

void write_peft(const std::vector<NamedTensor>& tensors, const LoraConfig& config,
                const std::filesystem::path& directory) {
  std::vector<formats::TensorToWrite> out;
  for (const NamedTensor& named : tensors) {
    if (!named.tensor.detach().isfinite().all().item<bool>())
      throw ModelError(fmt::format("{} has values that are not finite, so the adapter is not written to {}", named.name,
                                   directory.string()));
    out.push_back(formats::tensor_to_write(named.name, named.tensor.detach()));
  }
  core::make_folder(directory);
  // The config last: a folder that has it has the weights it speaks of.
  formats::write_safetensors(directory / kWeights, std::move(out));
  core::write_file(directory / kConfig, adapter_config_json(config));
}

void read_peft_tensors(const std::vector<NamedTensor>& tensors, const std::filesystem::path& directory) {
  const auto path = directory / kWeights;
  if (!std::filesystem::exists(path)) {
    if (const auto advice = formats::pickle_advice(directory)) throw FormatError(*advice);
    throw MissingError(fmt::format("there is no '{}', which holds the adapter's weights", path.string()));
  }
  const auto file = formats::SafetensorsFile::open(path);
  const auto fail = [&](const std::string& problem) {
    throw ModelError(fmt::format("{}: {}", path.string(), problem));
  };
  std::vector<std::string> expected, present;
  for (const NamedTensor& named : tensors) expected.push_back(named.name);
  for (const formats::TensorInfo& info : file->header().tensors) present.push_back(info.name);
  const std::set<std::string> known(expected.begin(), expected.end());
  for (const std::string& name : present)
    if (known.count(name) == 0)
      fail(fmt::format("unexpected tensor '{}': adapter_config.json does not ask for it in this network{}",
                       core::printable(name, 200), core::did_you_mean(name, expected)));
  for (const NamedTensor& named : tensors) {
    const formats::TensorInfo* const info = file->find(named.name);
    if (info == nullptr)
      fail(fmt::format("the tensor '{}' is missing{}", named.name, core::did_you_mean(named.name, present)));
    if (at::IntArrayRef(info->shape) != named.tensor.sizes())
      fail(fmt::format("'{}' has the shape [{}], expected [{}] for this network", named.name,
                       fmt::join(info->shape, ", "), fmt::join(named.tensor.sizes(), ", ")));
    const at::Tensor tensor = formats::tensor_view(file, *info);
    if (!tensor.is_floating_point() || !tensor.isfinite().all().item<bool>())
      fail(fmt::format("'{}' has values that are not finite numbers", named.name));
  }
  const at::NoGradGuard no_grad;
  for (const NamedTensor& named : tensors)
    at::Tensor(named.tensor).copy_(formats::tensor_view(file, *file->find(named.name)));
}

}  // namespace lowrank::lora
