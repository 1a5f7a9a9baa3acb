// metrics.jsonl: one JSON object a line, appended and handed to the system at every row, cut back on resume.
#pragma once

#include <cstdint>
#include <filesystem>

#include "lowrank/core/files.h"
#include "lowrank/core/json.h"

namespace lowrank::train {

class MetricsLog {
 public:
  /// Opens (or makes) the file and cuts it to its first `keep_bytes`. IoError naming the file.
  MetricsLog(std::filesystem::path file, std::int64_t keep_bytes);

  void row(const core::Json& object);
  void sync() { file_.sync(); }
  /// Ends it; IoError for a write that the system reports only now.
  void close() { file_.close(); }
  std::int64_t bytes() const { return static_cast<std::int64_t>(file_.bytes()); }
  /// The file was shorter than keep_bytes: someone else has cut it.
  bool was_short() const { return file_.was_short(); }

 private:
  core::AppendFile file_;
};

/// The largest resident set that this process has had (VmHWM), in bytes.
std::int64_t peak_rss_bytes();

}  // namespace lowrank::train
