#include "lowrank/data/standard_input.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <mutex>
#include <string_view>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/system.h"

namespace lowrank::data {
namespace {

std::mutex mutex;
std::filesystem::path spooled;  // /proc/self/fd/N

std::filesystem::path spool() {
  if (::isatty(STDIN_FILENO) == 1) {
    throw DataError("`-` reads standard input, which is a terminal; pipe the data in");
  }
  core::UnnamedFile file;
  std::array<char, 1 << 16> buffer;
  while (true) {
    const ssize_t n = core::uninterrupted([&] { return ::read(STDIN_FILENO, buffer.data(), buffer.size()); });
    if (n < 0) core::throw_errno("read", "standard input", errno);
    if (n == 0) break;
    file.write({buffer.data(), static_cast<std::size_t>(n)});
  }
  return file.keep();  // open until the process ends
}

}  // namespace

std::filesystem::path standard_input() {
  const std::lock_guard<std::mutex> lock(mutex);
  if (spooled.empty()) spooled = spool();
  return spooled;
}

std::string name_of(const std::filesystem::path& file) {
  const std::lock_guard<std::mutex> lock(mutex);
  return !spooled.empty() && file == spooled ? "stdin" : file.string();
}

}  // namespace lowrank::data
