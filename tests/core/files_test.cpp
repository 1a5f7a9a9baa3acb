#include "lowrank/core/files.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
#include <set>
#include <thread>

#include "core/expect_error.h"

using namespace lowrank::core;
using lowrank_test::read_text;
using lowrank_test::TempDir;
using lowrank_test::write_text;

namespace {

std::set<std::string> names_in(const fs::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.insert(entry.path().filename().string());
  return names;
}

// A limit on file size for one scope, with SIGXFSZ ignored as the app does.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int);
};

}  // namespace

TEST_CASE("a file is read whole", "[unit]") {
  const TempDir dir;
  const std::string bytes = std::string("a\0b", 3) + std::string(100'000, 'x');
  write_text(dir / "f", bytes);
  write_text(dir / "empty", "");
  CHECK(read_file(dir / "f") == bytes);
  CHECK(read_file(dir / "f", bytes.size()) == bytes);
  CHECK(read_file(dir / "empty").empty());
  CHECK_FALSE(read_file("/proc/self/status").empty());  // of size 0 by stat
  CHECK_ERROR(read_file(dir / "f", 1000), kFormat, "has 100.0 kB, more than the 1.0 kB");
  CHECK_ERROR(read_file(dir / "none"), kMissing, "none': No such file or directory");
  CHECK_ERROR(read_file(dir / "f/x"), kMissing, "Not a directory");
}

TEST_CASE("only regular files are read or mapped, and nothing blocks", "[unit]") {
  const TempDir dir;
  REQUIRE(::mkfifo((dir / "fifo").c_str(), 0600) == 0);
  const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (dir / "socket").string().copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  const auto check = [&](auto open) {
    CHECK_ERROR(open(dir.path()), kFormat, "is a directory, where a regular file was expected");
    CHECK_ERROR(open(dir / "fifo"), kFormat, "is a FIFO, where a regular file was expected");
    CHECK_ERROR(open(fs::path("/dev/zero")), kFormat, "is a device, where a regular file was expected");
    CHECK_ERROR(open(dir / "socket"), kFormat, "is a socket");
    CHECK_ERROR(open(dir / "none"), kMissing, "none");
  };
  check([](const fs::path& file) { return read_file(file); });
  check([](const fs::path& file) { return MappedFile::open(file); });
  check([](const fs::path& file) { return sha256_file(file); });
  ::close(listener);
}

TEST_CASE("a mapping shows the file's bytes", "[unit]") {
  const TempDir dir;
  write_text(dir / "f", "hello");
  write_text(dir / "empty", "");
  const auto map = MappedFile::open(dir / "f");
  CHECK(std::string(reinterpret_cast<const char*>(map->bytes().data()), map->bytes().size()) == "hello");
  CHECK(map->stamp() == stamp_of(dir / "f"));
  CHECK(map->path() == dir / "f");
  CHECK(MappedFile::open(dir / "empty")->bytes().empty());
}

TEST_CASE("a file is read here and there, and one that ends too early says so", "[unit]") {
  const TempDir dir;
  write_text(dir / "f", "0123456789");
  const lowrank::core::InputFile file(dir / "f");
  std::string room(4, ' ');
  file.read_at(5, room);
  CHECK(room == "5678");
  file.read_at(0, room);
  CHECK(room == "0123");
  CHECK_ERROR(file.read_at(7, room), kIo, "ends after 10 B");
}

TEST_CASE("a file that changed under its reader is noticed", "[unit]") {
  const TempDir dir;
  const fs::path file = dir / "f";
  write_text(file, "hello");
  const FileStamp stamp = stamp_of(file);
  CHECK_NOTHROW(check_unchanged(file, stamp));
  write_text(file, "hello!");
  CHECK_ERROR(check_unchanged(file, stamp), kIo, "changed while it was in use: it had 5 bytes and has 6");
  write_text(file, "hullo");
  fs::last_write_time(file, fs::file_time_type::clock::now() + std::chrono::hours(1));
  CHECK_ERROR(check_unchanged(file, stamp), kIo, "it was written to");
  write_text(dir / "g", "hello");
  fs::rename(dir / "g", file);
  CHECK_ERROR(check_unchanged(file, stamp), kIo, "another file took its place");
  fs::remove(file);
  CHECK_ERROR(check_unchanged(file, stamp), kIo, "was removed or renamed");
  CHECK_ERROR(stamp_of(file), kMissing, "No such file");
}

TEST_CASE("an atomic write leaves the old file or the new one", "[unit]") {
  const TempDir dir;
  const fs::path file = dir / "f";
  write_file(file, "old");
  CHECK(read_text(file) == "old");
  {
    AtomicFile half(file);
    half.write("half of the ne");
    CHECK(read_text(file) == "old");
    CHECK(names_in(dir.path()).size() == 2);
    for (const std::string& name : names_in(dir.path())) CHECK(is_temporary_name(name) == (name != "f"));
  }
  CHECK(names_in(dir.path()) == std::set<std::string>{"f"});
  CHECK(read_text(file) == "old");
  AtomicFile whole(file, 3);
  whole.write("ne");
  whole.write(std::as_bytes(std::span("w", 1)));
  whole.commit();
  CHECK(read_text(file) == "new");
  CHECK(names_in(dir.path()) == std::set<std::string>{"f"});
  CHECK_ERROR(whole.write("x"), kInternal, "after commit");
  CHECK_ERROR(whole.commit(), kInternal, "twice");
}

TEST_CASE("a file that cannot be written says why", "[unit]") {
  const TempDir dir;
  CHECK_ERROR(write_file(dir / "no/f", "x"), kIo, "no' does not exist");
  fs::create_directory(dir / "folder");
  CHECK_ERROR(write_file(dir / "folder", "x"), kIo, "folder': Is a directory");
  CHECK_ERROR(write_file(dir.path() / "", "x"), kIo, "it is not a file name");
  CHECK(names_in(dir.path()) == std::set<std::string>{"folder"});
  if (::geteuid() == 0) LOWRANK_SKIP("root may write into read-only folders");
  fs::permissions(dir.path(), fs::perms::owner_read | fs::perms::owner_exec);
  CHECK_ERROR(write_file(dir / "f", "x"), kIo, "Permission denied");
  fs::permissions(dir.path(), fs::perms::owner_all);
}

TEST_CASE("a limit on file size is an error that names the bytes needed and free", "[unit]") {
  const TempDir dir;
  write_file(dir / "f", "old");
  {
    const FileSizeLimit limit(4096);
    CHECK_ERROR(write_file(dir / "f", std::string(10'000, 'x')), kIo, "10000 bytes (10.0 kB) are needed, 4.1 kB were");
    CHECK_ERROR(write_file(dir / "f", std::string(10'000, 'x')), kIo, "free now; raise the limit on file size");
  }
  CHECK(read_text(dir / "f") == "old");
  CHECK(names_in(dir.path()) == std::set<std::string>{"f"});
}

TEST_CASE("a full disk is an error that names the bytes needed and free", "[unit]") {
  const TempDir dir;
  const std::string mount = "mount -t tmpfs -o size=64k lowrank-test " + dir.path().string() + " 2>/dev/null";
  if (::geteuid() != 0 || std::system(mount.c_str()) != 0) LOWRANK_SKIP("a 64 kB tmpfs cannot be mounted here");
  write_file(dir / "f", "old");
  CHECK_ERROR(write_file(dir / "f", std::string(200'000, 'x')), kIo,
              "No space left on device: 200000 bytes (200.0 kB) are needed");
  CHECK(read_text(dir / "f") == "old");
  CHECK(names_in(dir.path()) == std::set<std::string>{"f"});
  REQUIRE(std::system(("umount " + dir.path().string()).c_str()) == 0);
}

TEST_CASE("a staged folder appears whole or not at all", "[unit]") {
  const TempDir dir;
  {
    StagedDirectory dropped(dir / "out");
    write_text(dropped.path() / "a", "1");
    CHECK(is_temporary_name(dropped.path().filename().string()));
  }
  CHECK(names_in(dir.path()).empty());
  StagedDirectory staged(dir / "out/");
  write_text(staged.path() / "a", "1");
  write_text(staged.path() / "deep" / "b", "2");
  fs::create_symlink("a", staged.path() / "link");
  CHECK_FALSE(fs::exists(dir / "out"));
  staged.commit();
  CHECK(read_text(dir / "out/deep/b") == "2");
  CHECK(names_in(dir.path()) == std::set<std::string>{"out"});
  CHECK_ERROR(staged.commit(), kInternal, "twice");
  CHECK_ERROR(StagedDirectory(dir / "out"), kIo, "out': it exists already");
  CHECK_ERROR(StagedDirectory(dir / "no/out"), kIo, "no' does not exist");

  StagedDirectory late(dir / "second");  // somebody else makes the folder in the meantime
  fs::create_directory(dir / "second");
  CHECK_ERROR(late.commit(), kIo, "second': it exists already");
}

TEST_CASE("leftovers of killed processes are known by name and swept", "[unit]") {
  CHECK(is_temporary_name(".model.safetensors.tmp-123-0"));
  CHECK(is_temporary_name(".a.tmp-1-2.tmp-3-4"));
  for (const char* name : {"", ".", "a.tmp-1-2", ".tmp-1-2", ".a.tmp-1", ".a.tmp-1-", ".a.tmp-x-2", ".a.tmp-1-2b"}) {
    CHECK_FALSE(is_temporary_name(name));
  }
  const TempDir dir;
  write_text(dir / ".f.tmp-99-1", "x");
  write_text(dir / ".d.tmp-99-2/inside", "x");
  write_text(dir / "kept", "x");
  fs::create_symlink(dir / "kept", dir / ".l.tmp-99-3");
  CHECK(sweep_temporaries(dir.path()) == 3);
  CHECK(names_in(dir.path()) == std::set<std::string>{"kept"});
  CHECK_ERROR(sweep_temporaries(dir / "none"), kMissing, "none");
}

TEST_CASE("a name as long as names can be is written, staged, locked and swept as any other", "[unit]") {
  const TempDir dir;
  const std::string file(255, 'f'), folder(255, 'd');
  write_file(dir / file, "x");
  CHECK(read_text(dir / file) == "x");
  {
    const OutputLock lock(dir / folder);
    CHECK_ERROR(OutputLock(dir / folder), kIo, "is in use by process " + std::to_string(::getpid()));
    StagedDirectory staged(dir / folder);
    write_text(staged.path() / "inside", "y");
    staged.commit();
  }
  CHECK(read_text(dir.path() / folder / "inside") == "y");
  fs::path left;
  {
    StagedDirectory staged(dir / (folder.substr(1) + "2"));
    left = staged.path();
  }
  write_text(left / "half", "z");  // as one that was killed leaves it
  write_text(dir / (".another.tmp-1-1"), "w");
  const OutputLock lock(dir / (folder.substr(1) + "2"));
  CHECK_FALSE(fs::exists(left));
  CHECK(fs::exists(dir / ".another.tmp-1-1"));
  CHECK_ERROR(write_file(dir / std::string(256, 'f'), "x"), kIo, "File name too long");
}

TEST_CASE("a TMPDIR that is no folder is passed over", "[unit]") {
  const char* const before = std::getenv("TMPDIR");
  const std::string kept = before == nullptr ? "" : before;
  ::setenv("TMPDIR", "/nonexistent/tmp", 1);
  std::string text;
  {
    UnnamedFile file;
    file.write("through");
    text = read_text(file.keep());
  }
  before == nullptr ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", kept.c_str(), 1);
  CHECK(text == "through");
}

TEST_CASE("what nobody has written to for a day is swept by the next write beside it, and nothing younger", "[unit]") {
  const TempDir dir;
  const auto aged = [&](const char* name, bool link) {
    link ? fs::create_symlink("nowhere", dir / name) : write_text(dir / name, "half");
    const timespec times[2] = {{::time(nullptr) - 2 * 86'400, 0}, {::time(nullptr) - 2 * 86'400, 0}};
    REQUIRE(::utimensat(AT_FDCWD, (dir / name).c_str(), times, AT_SYMLINK_NOFOLLOW) == 0);
  };
  aged(".a.json.tmp-1-2", false);
  aged(".main.tmp-1-3", true);
  aged(".of the user", false);
  write_text(dir / ".b.json.tmp-1-2", "half");
  fs::create_directory(dir / ".c.tmp-1-2");
  lowrank::core::write_file(dir / "f", "whole");
  CHECK(names_in(dir.path()) == std::set<std::string>{".b.json.tmp-1-2", ".c.tmp-1-2", ".of the user", "f"});
}

TEST_CASE("a folder has one holder, who is named", "[unit]") {
  const TempDir dir;
  {
    const DirectoryLock lock(dir.path());
    CHECK_ERROR(DirectoryLock(dir.path()), kIo, "is in use by process " + std::to_string(::getpid()));
  }
  CHECK(names_in(dir.path()).empty());
  CHECK_ERROR(DirectoryLock(dir / "none"), kMissing, "none/.lowrank.lock");

  // A holder that is killed lets go; what it leaves behind does not matter.
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const DirectoryLock lock(dir.path());
    write_text(dir / ".page.html.tmp-1-2", "half");
    (void)!::write(ready[1], "x", 1);
    while (true) ::pause();
  }
  char byte;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  CHECK_ERROR(DirectoryLock(dir.path()), kIo, "is in use by process " + std::to_string(child));
  ::kill(child, SIGKILL);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(fs::exists(dir / ".page.html.tmp-1-2"));  // not the other's to take away
  CHECK_NOTHROW(DirectoryLock(dir.path()));
  CHECK(names_in(dir.path()).empty());
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_CASE("asking who holds a folder keeps nobody from it", "[unit]") {
  const TempDir dir;
  CHECK_FALSE(in_use(dir / "none"));
  CHECK_FALSE(in_use(dir.path()));
  std::atomic<bool> done = false;
  std::atomic<int> seen = 0;
  std::thread asks([&] {
    while (!done) seen += in_use(dir.path()) ? 1 : 0;
  });
  for (int i = 0; i < 20000 || seen == 0; ++i) {
    const DirectoryLock lock(dir.path());  // throws where the question stood in its way
    if (i % 100 == 0) REQUIRE(in_use(dir.path()));
  }
  done = true;
  asks.join();
  CHECK_FALSE(in_use(dir.path()));
}

TEST_CASE("sha-256 equals the standard's test vectors", "[unit]") {
  CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const TempDir dir;
  const std::string million(1'000'000, 'a');
  write_text(dir / "f", million);
  CHECK(sha256_file(dir / "f") == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}
