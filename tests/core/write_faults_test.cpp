// Interruptions, short writes and errors that come late, in the one writer: by a write, fsync and close of the tests' own.
#include <dlfcn.h>
#include <unistd.h>

#include <cerrno>

#include "core/expect_error.h"
#include "lowrank/core/files.h"

using namespace lowrank::core;
using lowrank_test::read_text;
using lowrank_test::TempDir;

namespace {

struct Faults {
  int interrupted = 0;      // writes that fail with EINTR before one goes through
  std::size_t longest = 0;  // bytes that a write takes; 0: all
  int close_error = 0, sync_error = 0, write_error = 0;
} faults;

template <class Call>
Call next(const char* name) {
  return reinterpret_cast<Call>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" ssize_t write(int fd, const void* bytes, size_t size) {
  static const auto real = next<ssize_t (*)(int, const void*, size_t)>("write");
  if (fd <= 2) return real(fd, bytes, size);
  if (faults.interrupted > 0) {
    --faults.interrupted;
    errno = EINTR;
    return -1;
  }
  if (faults.write_error != 0) {
    errno = faults.write_error;
    return -1;
  }
  return real(fd, bytes, faults.longest == 0 ? size : std::min(size, faults.longest));
}

extern "C" int fsync(int fd) {
  static const auto real = next<int (*)(int)>("fsync");
  if (faults.sync_error == 0) return real(fd);
  errno = faults.sync_error;
  return -1;
}

extern "C" int close(int fd) {
  static const auto real = next<int (*)(int)>("close");
  const int result = real(fd);
  if (faults.close_error == 0 || fd <= 2) return result;
  errno = faults.close_error;
  return -1;
}

namespace {

// Writes of both kinds, as files of a run are written.
void write_both(const fs::path& dir) {
  write_file(dir / "whole", "0123456789");
  AppendFile grown(dir / "grown", 0);
  grown.write("01234");
  grown.write("56789");
  grown.sync();
  grown.close();
}

std::string message_of_close(const fs::path& dir, bool append) {
  try {
    if (append) {
      AppendFile file(dir / "grown", 0);
      faults.close_error = EIO;
      file.close();
    } else {
      AtomicFile file(dir / "whole");
      file.write("new");
      faults.close_error = EIO;
      file.commit();
    }
  } catch (const lowrank::IoError& error) {
    faults = {};
    return error.what();
  }
  faults = {};
  return "";
}

}  // namespace

TEST_CASE("interrupted and short writes are gone on with", "[unit]") {
  const TempDir dir;
  faults.interrupted = 3;
  faults.longest = 3;
  write_both(dir.path());
  faults = {};
  CHECK(read_text(dir / "whole") == "0123456789");
  CHECK(read_text(dir / "grown") == "0123456789");
}

TEST_CASE("an error that comes only at the close is one", "[unit]") {
  const TempDir dir;
  write_file(dir / "whole", "old");
  CHECK(message_of_close(dir.path(), false) ==
        "cannot write '" + (dir / "whole").string() + "': Input/output error");
  CHECK(read_text(dir / "whole") == "old");
  CHECK(message_of_close(dir.path(), true) == "cannot write '" + (dir / "grown").string() + "': Input/output error");
}

TEST_CASE("errors of write and fsync are IoErrors that leave the old file", "[unit]") {
  const TempDir dir;
  write_file(dir / "f", "old");
  for (const int error : {EIO, ENOSPC, EDQUOT}) {
    faults.write_error = error;
    const auto attempt = [&] { write_file(dir / "f", "new"); };
    CHECK_THROWS_AS(attempt(), lowrank::IoError);
    faults = {};
    faults.sync_error = error;
    CHECK_THROWS_AS(attempt(), lowrank::IoError);
    faults = {};
    CHECK(read_text(dir / "f") == "old");
  }
}
