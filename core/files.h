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

#include "lowrank/core/error.h"
#include "lowrank/core/file_ref.h"

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
FileStamp stamp_of(const FileRef& file);

/// Throws IoError naming the file when its stamp is no longer `stamp` ("changed while it was in use").
void check_unchanged(const FileRef& file, const FileStamp& stamp);

/// The whole file. MissingError, IoError; FormatError when larger than max_bytes, or a directory, FIFO or device, or a
/// link that leads out of its folder (FileRef).
std::string read_file(const FileRef& file, std::uint64_t max_bytes = std::uint64_t{1} << 32);

/// A file read from its start in pieces, or here and there. Errors as of read_file.
class InputFile {
 public:
  explicit InputFile(const FileRef& file);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  /// The next bytes, at most as many as there is room for; none at the end. IoError.
  std::size_t read(std::span<char> room);
  /// The bytes that begin at `place`, wherever read() is. IoError, too where the file ends before all of them.
  void read_at(std::uint64_t place, std::span<char> room) const;

 private:
  fs::path path_;
  int fd_ = -1;
};

/// A read-only mapping of a regular file; unmapped on destruction. Empty files map to an empty span.
class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> open(const FileRef& file);
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

/// A file that is appended to, each write handed to the system at once. Nothing is written through a link: neither one
/// that stands at its name, nor another name (hard link) of the same file, which keeps what it had.
class AppendFile {
 public:
  static constexpr std::uint64_t kAll = ~std::uint64_t{0};
  /// Opens or makes the file and cuts it to its first `keep_bytes`. IoError; FormatError for what is no regular file.
  explicit AppendFile(fs::path file, std::uint64_t keep_bytes = kAll);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void write(std::string_view bytes);
  void sync();
  /// Ends it; IoError for what the system says only now. Without it that goes unsaid.
  void close();
  std::uint64_t bytes() const { return bytes_; }
  /// The file had fewer than keep_bytes: someone else has cut it.
  bool was_short() const { return was_short_; }

 private:
  fs::path file_;
  int fd_ = -1;
  std::uint64_t bytes_ = 0;
  bool was_short_ = false;
};

/// A file of the temporary folder that has no name: written once, then read by its path for as long as the process runs.
class UnnamedFile {
 public:
  UnnamedFile();
  ~UnnamedFile();
  UnnamedFile(const UnnamedFile&) = delete;
  UnnamedFile& operator=(const UnnamedFile&) = delete;
  void write(std::string_view bytes);
  /// The path, /proc/self/fd/N (a link to what has no name: to be read as FileRef::named); the file stays open.
  fs::path keep();

 private:
  fs::path folder_;
  int fd_ = -1;
  std::uint64_t written_ = 0;
};

/// A folder made beside its final name: write files into path(), then commit() syncs every file and the folder, renames
/// it to its final name (which must not exist, or be an empty folder from the start), and syncs the parent. Without
/// commit() it is removed.
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
  bool replaces_empty_ = false, committed_ = false;
};

/// Makes a folder, and those above it, where they are missing. IoError when that fails, or a file has the name.
void make_folder(const fs::path& folder);

/// IoError when a link stands at this name, which is part of something that is written to.
void refuse_link(const fs::path& path);

/// fsync of a folder, so that renames and unlinks in it survive a power cut.
void sync_directory(const fs::path& directory);

/// Whether a name is the temporary one of an AtomicFile or StagedDirectory that a killed process left behind.
bool is_temporary_name(const std::string& file_name);
/// Removes such leftovers directly under a folder, whoever wrote them (hold its DirectoryLock); returns how many.
/// `of`: those of that name alone.
int sweep_temporaries(const fs::path& directory, const std::string& of = "");

/// What a lock of another process keeps one from.
struct InUseError : IoError {
  using IoError::IoError;
};

/// An exclusive advisory lock (fcntl's, of the open file) on DIR/.lowrank.lock, which holds the PID. InUseError naming
/// the holder's PID. What a killed process was writing in the folder itself is swept.
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

/// Whether somebody holds a folder's DirectoryLock. Asking takes nothing: whoever comes for the lock meanwhile gets it.
bool in_use(const fs::path& directory);

/// The same for an output that is one file, or a folder that appears at once: on .NAME.lowrank.lock beside it. What a
/// killed process was writing under the same name is swept.
class OutputLock {
 public:
  explicit OutputLock(const fs::path& output);
  ~OutputLock();
  OutputLock(const OutputLock&) = delete;
  OutputLock& operator=(const OutputLock&) = delete;

 private:
  fs::path file_;
  int fd_ = -1;
};

/// SHA-256 in lower-case hex, of bytes or of a file (streamed).
std::string sha256(std::string_view bytes);
std::string sha256_file(const FileRef& file);

/// glibc gives big blocks back at every free, and a third of a training step is page faults. Keeps the heap instead
/// (M_MMAP_MAX=0, M_TRIM_THRESHOLD, M_ARENA_MAX=1). For a program's main, before the first tensor; embedders decide.
void keep_heap();

}  // namespace lowrank::core
