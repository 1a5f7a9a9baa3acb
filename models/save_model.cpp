#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/models/config_write.h"
#include "lowrank/models/description.h"
#include "lowrank/models/load.h"

namespace lowrank::models {

void save_model(DecoderImpl& decoder, const data::Tokenizer& tokenizer, const std::filesystem::path& directory,
                at::ScalarType dtype) {
  if (dtype != at::kFloat && dtype != at::kBFloat16) {
    throw ConfigError(fmt::format("a model is saved as float32 or bfloat16, not as {}", c10::toString(dtype)));
  }
  core::make_folder(directory);
  DecoderConfig config = decoder.config();
  config.dtype = dtype == at::kFloat ? "float32" : "bfloat16";

  const DecoderSpec& blocks = *config.blocks;
  const auto saved_name = [&](const std::string& name) {
    const bool renamed = !blocks.saved_prefix.empty() && name.starts_with(blocks.prefix);
    return renamed ? blocks.saved_prefix + name.substr(blocks.prefix.size()) : name;
  };
  std::vector<formats::TensorToWrite> tensors;
  for (const lora::NamedTensor& weight : decoder.named_weights()) {
    // Converted when its turn comes, so that a second copy of the whole model never exists.
    formats::TensorToWrite tensor;
    tensor.name = saved_name(weight.name);
    tensor.dtype = formats::from_torch(dtype);
    tensor.shape = weight.tensor.sizes().vec();
    tensor.produce = [source = weight.tensor.detach(), name = tensor.name, dtype](const auto& sink) {
      formats::tensor_to_write(name, source.to(dtype)).produce(sink);
    };
    tensors.push_back(std::move(tensor));
  }
  formats::write_safetensors(directory / "model.safetensors", std::move(tensors));
  for (const std::filesystem::path& file : tokenizer.files()) {
    core::write_file(directory / file.filename(), core::read_file(file));
  }
  core::write_file(directory / "generation_config.json", generation_config_json(config));
  core::write_file(directory / "config.json", config_json(config));
}

}  // namespace lowrank::models
