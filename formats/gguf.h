// GGUF files, version 3, as llama.cpp reads them: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Torch-free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "lowrank/formats/ggml_blocks.h"

namespace lowrank::formats {

using GgufValue = std::variant<std::uint32_t, std::int32_t, float, bool, std::string, std::vector<std::uint32_t>,
                               std::vector<std::int32_t>, std::vector<float>, std::vector<bool>,
                               std::vector<std::string>>;
/// Key and value, in the order in which they are written.
using GgufValues = std::vector<std::pair<std::string, GgufValue>>;

/// One tensor to write: its bytes are produced when its turn comes, so that a file larger than memory can be written.
struct GgufTensor {
  std::string name;
  std::vector<std::int64_t> shape;  // as in PyTorch; the file has the extents in reverse
  GgmlType type = GgmlType::kF32;
  std::function<void(const std::function<void(std::span<const std::byte>)>& sink)> produce;
};

/// Complete or not at all. InternalError for a name of more than 63 bytes (what ggml holds), more than four extents, or
/// a tensor that produces another number of bytes than its shape has.
void write_gguf(const std::filesystem::path& destination, const GgufValues& values,
                const std::vector<GgufTensor>& tensors);

}  // namespace lowrank::formats
