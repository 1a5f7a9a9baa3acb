#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "lowrank/core/files.h"
#include "lowrank/core/system.h"

namespace lowrank::core {

UnnamedFile::UnnamedFile() : folder_(temporary_place()) {
  std::string name = (folder_ / "lowrank-XXXXXX").string();
  fd_ = ::mkostemp(name.data(), O_CLOEXEC);
  if (fd_ < 0) throw_write_error(name, errno, 0, 0);
  ::unlink(name.c_str());
}

UnnamedFile::~UnnamedFile() {
  if (fd_ >= 0) ::close(fd_);
}

void UnnamedFile::write(std::string_view bytes) {
  write_fully(fd_, folder_ / "a temporary file", bytes, 0, written_);
  written_ += bytes.size();
}

fs::path UnnamedFile::keep() {
  const int fd = fd_;
  fd_ = -1;
  return "/proc/self/fd/" + std::to_string(fd);
}

}  // namespace lowrank::core
