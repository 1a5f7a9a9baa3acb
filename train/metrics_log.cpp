#include "lowrank/train/metrics_log.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"

namespace lowrank::train {
namespace {

[[noreturn]] void fail(const std::filesystem::path& file, const std::string& what) {
  throw IoError(file.string() + " could not be " + what + ": " + std::strerror(errno));
}

}  // namespace

MetricsLog::MetricsLog(std::filesystem::path file, std::int64_t keep_bytes) : file_(std::move(file)) {
  fd_ = ::open(file_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) fail(file_, "opened");
  try {
    struct stat status {};
    if (::fstat(fd_, &status) != 0) fail(file_, "examined");
    was_short_ = status.st_size < keep_bytes;
    bytes_ = was_short_ ? static_cast<std::int64_t>(status.st_size) : keep_bytes;
    if (::ftruncate(fd_, bytes_) != 0) fail(file_, "cut back");
    if (::lseek(fd_, bytes_, SEEK_SET) < 0) fail(file_, "appended to");
    core::sync_directory(file_.parent_path());
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

MetricsLog::~MetricsLog() { ::close(fd_); }

void MetricsLog::row(const core::Json& object) {
  const std::string line = object.dump() + "\n";
  std::size_t done = 0;
  while (done < line.size()) {
    const ssize_t n = ::write(fd_, line.data() + done, line.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(file_, "written (" + std::to_string(line.size()) + " bytes needed)");
    done += static_cast<std::size_t>(n);
  }
  bytes_ += static_cast<std::int64_t>(line.size());
}

void MetricsLog::sync() {
  if (::fsync(fd_) != 0) fail(file_, "synced");
}

std::int64_t peak_rss_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stoll(line.substr(6)) * 1024;
  }
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace lowrank::train
