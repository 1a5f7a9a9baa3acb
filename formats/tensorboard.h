// TensorBoard event files: records framed as TFRecord with masked CRC32C, each an Event protobuf written by hand.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lowrank/core/files.h"

namespace lowrank::formats {

/// CRC-32C (Castagnoli) of bytes, and as TFRecord masks it: rotated right by 15, plus 0xa282ead8.
std::uint32_t crc32c(std::string_view bytes);
std::uint32_t masked_crc32c(std::string_view bytes);

/// A scalar by its tag ("train/loss").
using Scalars = std::vector<std::pair<std::string, double>>;

/// An Event with a Summary of scalars (as floats), framed. `wall_time`: seconds since 1970.
std::string scalar_record(double wall_time, std::int64_t step, const Scalars& scalars);
/// The Event that every file begins with: {wall_time, file_version: "brain.Event:2"}, framed.
std::string version_record(double wall_time);

/// An event file that is appended to, a record at a time.
class EventFile {
 public:
  /// Opens or makes it. What is there is kept up to its first record of a later step than `last_step` (records are in
  /// order of their steps), or up to the first that is broken: a resumed run writes those again. `last_step` < 0:
  /// begins anew. IoError naming the file.
  EventFile(const std::filesystem::path& file, std::int64_t last_step);

  void write(std::int64_t step, const Scalars& scalars);
  void sync() { file_.sync(); }
  /// Ends it; IoError for a write that the system reports only now.
  void close() { file_.close(); }

 private:
  core::AppendFile file_;
};

}  // namespace lowrank::formats
