// Tensors that no file has, as a file: for code that reads files.
#pragma once

#include <memory>
#include <vector>

#include "lowrank/formats/safetensors.h"

namespace lowrank::formats {

/// Written under the folder for temporary files and opened; the name is gone again at once, so that the bytes live as
/// long as the result. IoError when there is no room for it (TMPDIR names another place).
std::shared_ptr<const SafetensorsFile> scratch_safetensors(std::vector<TensorToWrite> tensors);

}  // namespace lowrank::formats
