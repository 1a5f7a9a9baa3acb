// Files: reading whole, mapping, writing so that a crash leaves the old or the new state and never a mixture.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace lowrank::core {

namespace fs = std::filesystem;

/// What tells that a file is still the one that was opened.
struct FileStamp {
  std::uint64_t size = 0;
  std::int64_t mtime_ns = 0;
  std::uint64_t inode = 0;
  std::uint64_t device = 0;
  bool operator==(const FileStamp&) const = default;
};

/// stat(2). MissingError when there is no such file, IoError otherwise.
FileStamp stamp_of(const fs::path& file);

/// Throws IoError naming the file when its stamp is no longer `stamp` ("changed while it was in use").
void check_unchanged(const fs::path& file, const FileStamp& stamp);

/// The whole file. MissingError, IoError; FormatError when larger than max_bytes, or a directory, FIFO or device.
std::string read_file(const fs::path& file, std::uint64_t max_bytes = std::uint64_t{1} << 32);

/// A read-only mapping of a regular file; unmapped on destruction. Empty files map to an empty span.
class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> open(const fs::path& file);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const fs::path& path() const { return path_; }
  const FileStamp& stamp() const { return stamp_; }

 private:
  MappedFile() = default;
  fs::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  FileStamp stamp_;
};

/// Writes a file beside its final name, syncs it, renames it, syncs the folder. Without commit() nothing remains.
/// Every failing call throws IoError with the path, errno's text and, when the disk is full, the bytes needed and free
/// `ulimit -f` raises SIGXFSZ, which ends a process by default: a program that ignores it gets the error instead.
class AtomicFile {
 public:
  explicit AtomicFile(fs::path destination, std::uint64_t expected_bytes = 0);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(std::string_view bytes);
  void write(std::span<const std::byte> bytes);
  void commit();

 private:
  fs::path destination_, temporary_;
  int fd_ = -1;
  std::uint64_t expected_bytes_ = 0, written_ = 0;
};

/// AtomicFile in one call.
void write_file(const fs::path& destination, std::string_view bytes);

/// A folder made beside its final name: write files into path(), then commit() syncs every file and the folder, renames
/// it to its final name (which must not exist), and syncs the parent. Without commit() it is removed.
class StagedDirectory {
 public:
  explicit StagedDirectory(fs::path destination);
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;
  const fs::path& path() const { return temporary_; }
  void commit();

 private:
  fs::path destination_, temporary_;
  bool committed_ = false;
};

/// Makes a folder, and those above it, where they are missing. IoError when that fails, or a file has the name.
void make_folder(const fs::path& folder);

/// fsync of a folder, so that renames and unlinks in it survive a power cut.
void sync_directory(const fs::path& directory);

/// Whether a name is the temporary one of an AtomicFile or StagedDirectory that a killed process left behind.
bool is_temporary_name(const std::string& file_name);
/// Removes such leftovers directly under a folder, whoever wrote them (hold its DirectoryLock); returns how many.
int sweep_temporaries(const fs::path& directory);

/// An exclusive advisory lock (flock) on DIR/.lowrank.lock, which holds the PID. IoError naming the holder's PID.
class DirectoryLock {
 public:
  explicit DirectoryLock(const fs::path& directory);
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  fs::path file_;
  int fd_ = -1;
};

/// SHA-256 in lower-case hex, of bytes or of a file (streamed).
std::string sha256(std::string_view bytes);
std::string sha256_file(const fs::path& file);

/// glibc gives big blocks back at every free, and a third of a training step is page faults. Keeps the heap instead
/// (M_MMAP_MAX=0, M_TRIM_THRESHOLD, M_ARENA_MAX=1). For a program's main, before the first tensor; embedders decide.
void keep_heap();

}  // namespace lowrank::core
