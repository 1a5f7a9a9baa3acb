// metrics.jsonl: one JSON object a line, appended and handed to the system at every row, cut back on resume.
#pragma once

#include <cstdint>
#include <filesystem>

#include "lowrank/core/json.h"

namespace lowrank::train {

class MetricsLog {
 public:
  /// Opens (or makes) the file and cuts it to its first `keep_bytes`. IoError naming the file.
  MetricsLog(std::filesystem::path file, std::int64_t keep_bytes);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  void row(const core::Json& object);
  void sync();
  std::int64_t bytes() const { return bytes_; }
  /// The file was shorter than keep_bytes: someone else has cut it.
  bool was_short() const { return was_short_; }

 private:
  std::filesystem::path file_;
  int fd_ = -1;
  std::int64_t bytes_ = 0;
  bool was_short_ = false;
};

/// The largest resident set that this process has had (VmHWM), in bytes.
std::int64_t peak_rss_bytes();

}  // namespace lowrank::train
