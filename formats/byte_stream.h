// The bytes of a file in order, decompressed where its content is compressed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "lowrank/core/file_ref.h"

namespace lowrank::formats {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  /// Up to into.size() bytes; 0 at the end alone. IoError; DataError where compressed bytes are damaged, end too early,
  /// or grow beyond all text (see GrowthBudget).
  virtual std::size_t read(std::span<char> into) = 0;
  /// Bytes of the file behind what was given out.
  virtual std::uint64_t position() const = 0;
  /// "gzip", "zstd"; empty: the bytes are the file's.
  virtual std::string compression() const { return ""; }
};

/// What a compressed file may grow to: `base` + `factor` for each of its bytes. JSON lines shrink to a tenth; a file
/// made to fill a disk or a memory to a thousandth and less.
struct GrowthBudget {
  std::uint64_t base = 256'000'000, factor = 500;
};

/// By content: gzip (one member or several), zstd (one frame or several), or the file as it is. MissingError, IoError;
/// FormatError for what is no regular file, and as core::FileRef says. `name` stands for the file in messages.
std::unique_ptr<ByteStream> open_bytes(const core::FileRef& file, const std::string& name,
                                       const GrowthBudget& budget = {});

}  // namespace lowrank::formats
