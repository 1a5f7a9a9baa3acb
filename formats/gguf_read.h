// Reading GGUF files: what stands in one, and where its tensors lie. Torch-free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lowrank/core/files.h"
#include "lowrank/formats/gguf.h"

namespace lowrank::formats {

/// A tensor of a file: its type (a number that GgmlType may not have), its shape as in PyTorch, and its bytes' offset
/// in the data part.
struct GgufTensorInfo {
  std::string name;
  std::uint32_t type = 0;
  std::vector<std::int64_t> shape;
  std::uint64_t offset = 0;
};

/// An opened (mapped) file of version 2 or 3, little-endian. Values of the types that GgufValue holds are kept, 8- and
/// 16-bit ones widened; others (64-bit ones, arrays of them and of unsigned 8- and 16-bit ones) are passed over.
class GgufFile {
 public:
  /// FormatError: not such a file, one that ends too early, a count, name or extent that cannot be, a tensor that lies
  /// outside of it, a key or tensor that is there twice, an array in an array. Allocates at most eight times
  /// the file's size and 16 MB.
  static GgufFile open(const core::FileRef& file);

  const std::map<std::string, GgufValue>& values() const { return values_; }
  const std::vector<GgufTensorInfo>& tensors() const { return tensors_; }
  /// Null where there is none of this name.
  const GgufTensorInfo* find(std::string_view name) const;
  /// Of a tensor of one of GgmlType's types; FormatError for another.
  std::span<const std::byte> bytes(const GgufTensorInfo& tensor) const;

 private:
  std::shared_ptr<const core::MappedFile> map_;
  std::map<std::string, GgufValue> values_;
  std::vector<GgufTensorInfo> tensors_;
  std::uint64_t data_ = 0;
};

}  // namespace lowrank::formats
