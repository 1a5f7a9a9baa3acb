#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/system.h"

namespace lowrank::core {

namespace {

// Other names of the same bytes keep them: what is cut or grown is a copy that stands at this name alone.
void part_from_other_names(const fs::path& file, std::uint64_t keep_bytes) {
  InputFile input(file);
  AtomicFile copy(file, keep_bytes);
  std::string buffer(std::min<std::uint64_t>(keep_bytes, std::uint64_t{1} << 20), '\0');
  for (std::uint64_t left = keep_bytes; left > 0;) {
    const std::size_t n = input.read(std::span(buffer).first(std::min<std::uint64_t>(left, buffer.size())));
    if (n == 0) break;
    copy.write(std::string_view(buffer).substr(0, n));
    left -= n;
  }
  copy.commit();
}

}  // namespace

AppendFile::AppendFile(fs::path file, std::uint64_t keep_bytes) : file_(std::move(file)) {
  refuse_link(file_);
  struct stat status {};
  if (::lstat(file_.c_str(), &status) == 0) {
    refuse_irregular(file_, status.st_mode);  // before it is opened: opening a device may do things
    const auto size = static_cast<std::uint64_t>(status.st_size);
    was_short_ = keep_bytes != kAll && size < keep_bytes;
    if (status.st_nlink > 1) part_from_other_names(file_, std::min(size, keep_bytes));
  } else if (errno == ENOENT) {
    was_short_ = keep_bytes != kAll && keep_bytes > 0;
  }
  Descriptor fd(uninterrupted([&] {
    return ::open(file_.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
  }));
  if (fd.get() < 0) throw_write_error(file_, errno, 0, 0);
  if (::fstat(fd.get(), &status) != 0) throw_errno("look at", file_, errno);
  refuse_irregular(file_, status.st_mode);
  bytes_ = std::min(keep_bytes, static_cast<std::uint64_t>(status.st_size));
  if (uninterrupted([&] { return ::ftruncate(fd.get(), static_cast<off_t>(bytes_)); }) != 0) {
    throw_errno("cut back", file_, errno);
  }
  if (::lseek(fd.get(), static_cast<off_t>(bytes_), SEEK_SET) < 0) throw_errno("append to", file_, errno);
  sync_directory(parent_of(file_));
  fd_ = fd.release();
}

AppendFile::~AppendFile() {
  if (fd_ >= 0) ::close(fd_);
}

void AppendFile::write(std::string_view bytes) {
  if (fd_ < 0) throw InternalError("AppendFile::write after close: " + quoted(file_));
  write_fully(fd_, file_, bytes, bytes_ + bytes.size(), bytes_);
  bytes_ += bytes.size();
}

void AppendFile::sync() {
  if (uninterrupted([&] { return ::fsync(fd_); }) != 0) throw_write_error(file_, errno, bytes_, bytes_);
}

void AppendFile::close() {
  if (fd_ < 0) return;
  const int fd = fd_;
  fd_ = -1;
  close_written(fd, file_, bytes_);
}

}  // namespace lowrank::core
