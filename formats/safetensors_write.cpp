#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/safetensors.h"

namespace lowrank::formats {

namespace {

std::string json_string(const std::string& text, const fs::path& destination) {
  if (core::find_invalid_utf8(text) != std::string::npos) {
    throw InternalError(fmt::format("cannot write {}: the name or metadata '{}' is not UTF-8", destination.string(),
                                    core::printable(text)));
  }
  return core::json_text(core::Json(text));
}

}  // namespace

void write_safetensors(const fs::path& destination, std::vector<TensorToWrite> tensors,
                       const std::map<std::string, std::string>& metadata) {
  const auto fail = [&](const TensorToWrite& tensor, const std::string& problem) {
    throw InternalError(fmt::format("cannot write {}: the tensor '{}' {}", destination.string(),
                                    core::printable(tensor.name), problem));
  };
  std::sort(tensors.begin(), tensors.end(), [](const TensorToWrite& a, const TensorToWrite& b) {
    return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
  });

  std::string header = "{";
  if (!metadata.empty()) {
    for (const auto& [key, value] : metadata) {
      header += header.size() == 1 ? "\"__metadata__\":{" : ",";
      header += json_string(key, destination) + ":" + json_string(value, destination);
    }
    header += "}";
  }
  std::vector<std::uint64_t> sizes;
  std::uint64_t offset = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorToWrite& tensor = tensors[i];
    if (tensor.name == "__metadata__") fail(tensor, "has the name that the format keeps for itself");
    const auto bytes = tensor_bytes(tensor.dtype, tensor.shape);
    if (!bytes || *bytes > INT64_MAX - offset) fail(tensor, "is too large");
    if (header.size() > 1) header += ",";
    header += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                          json_string(tensor.name, destination), dtype_name(tensor.dtype), fmt::join(tensor.shape, ","),
                          offset, offset + *bytes);
    sizes.push_back(*bytes);
    offset += *bytes;
  }
  header += "}";
  header.append((8 - header.size() % 8) % 8, ' ');
  std::vector<const std::string*> names;
  for (const TensorToWrite& tensor : tensors) names.push_back(&tensor.name);
  std::sort(names.begin(), names.end(), [](auto* a, auto* b) { return *a < *b; });
  const auto twice = std::adjacent_find(names.begin(), names.end(), [](auto* a, auto* b) { return *a == *b; });
  if (twice != names.end()) {
    throw InternalError(
        fmt::format("cannot write {}: two tensors are called '{}'", destination.string(), core::printable(**twice)));
  }

  core::AtomicFile file(destination, 8 + header.size() + offset);
  std::string length;
  for (int shift = 0; shift < 64; shift += 8) length += static_cast<char>(header.size() >> shift & 0xFF);
  file.write(length);
  file.write(header);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    std::uint64_t written = 0;
    tensors[i].produce([&](std::span<const std::byte> bytes) {
      if (bytes.size() > sizes[i] - written) fail(tensors[i], fmt::format("has more than its {} bytes", sizes[i]));
      file.write(bytes);
      written += bytes.size();
    });
    if (written != sizes[i]) fail(tensors[i], fmt::format("has {} bytes instead of {}", written, sizes[i]));
    tensors[i].produce = nullptr;  // what it held is needed no longer
  }
  file.commit();
}

}  // namespace lowrank::formats
