#include "lowrank/train/metrics_log.h"

#include <sys/resource.h>

#include <sstream>
#include <string>

#include "lowrank/core/json_text.h"

namespace lowrank::train {

MetricsLog::MetricsLog(std::filesystem::path file, std::int64_t keep_bytes)
    : file_(std::move(file), static_cast<std::uint64_t>(keep_bytes)) {}

void MetricsLog::row(const core::Json& object) { file_.write(core::json_text(object) + "\n"); }

std::int64_t peak_rss_bytes() {
  std::istringstream status(core::read_file("/proc/self/status"));
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stoll(line.substr(6)) * 1024;
  }
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace lowrank::train
