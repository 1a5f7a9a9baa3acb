// A folder that goes when nobody knows it any more.
#pragma once

#include <filesystem>

namespace lowrank::core {

/// Under TMPDIR, readable by this user alone; removed with everything in it at its end. IoError where none can be made.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace lowrank::core
