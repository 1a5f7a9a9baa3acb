#include "lowrank/formats/scratch_safetensors.h"

#include <utility>

#include "lowrank/core/temporary_folder.h"

namespace lowrank::formats {

std::shared_ptr<const SafetensorsFile> scratch_safetensors(std::vector<TensorToWrite> tensors) {
  const core::TemporaryFolder folder;
  const fs::path file = folder.path() / "scratch.safetensors";
  write_safetensors(file, std::move(tensors));
  return SafetensorsFile::open(file);
}

}  // namespace lowrank::formats
