#include "lowrank/data/hub/local_folder.h"

#include <fmt/format.h>

#include <chrono>
#include <sstream>
#include <vector>

#include "lowrank/core/digest.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/number.h"
#include "lowrank/core/text.h"
#include "lowrank/data/hub/base64.h"
#include "lowrank/data/hub/blob_hash.h"
#include "lowrank/data/hub/blob_writer.h"

namespace lowrank::data::hub {
namespace {

namespace fs = std::filesystem;

constexpr const char* kKept = ".cache/huggingface";

fs::path kept(const fs::path& folder) { return folder / kKept / "download"; }

// What a file hashes to as its blob.
std::string hash_of(const fs::path& path, const RemoteFile& file) {
  core::InputFile input(core::FileRef::named(path));
  core::Digest digest = blob_hash(file.large(), file.size);
  std::vector<char> buffer(std::size_t{1} << 20);
  while (const std::size_t n = input.read(buffer)) digest.add({buffer.data(), n});
  return digest.hex();
}

// The hash that is noted of a file; empty where nothing is, or the file was written since.
std::string noted_hash(const fs::path& folder, const fs::path& note, const fs::path& file) {
  std::error_code error;
  if (!fs::is_regular_file(fs::symlink_status(note, error))) return "";
  std::istringstream lines(core::read_file(core::FileRef::within(folder, note), 4096));
  std::string commit, hash, time;
  if (!(lines >> commit >> hash >> time)) return "";
  const double written = static_cast<double>(core::stamp_of(core::FileRef::named(file)).mtime_ns) / 1e9;
  return written - 1 <= core::read_double(time) ? hash : "";  // a second: as exact as some file systems are
}

std::string bytes_of(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

}  // namespace

LocalFolder::LocalFolder(fs::path folder, const Listing& listing) : folder_(std::move(folder)), commit_(listing.commit) {
  for (const RemoteFile& file : listing.files) {
    if (file.path.starts_with(std::string(kKept) + "/")) {
      throw FormatError(fmt::format("the repository has a file '{}', where a `local-dir` keeps what is known of its files; "
                                    "nothing of it is taken",
                                    core::printable(file.path, 120)));
    }
  }
}

bool LocalFolder::is_one(const fs::path& folder) {
  std::error_code ignored;
  return fs::is_directory(kept(folder), ignored);
}

fs::path LocalFolder::beside(const RemoteFile& file, const char* ending) const {
  return kept(folder_) / (file.path + ending);
}

LocalFolder::State LocalFolder::state(const RemoteFile& file) const {
  const fs::path path = place(file);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return State::kMissing;
  if (!fs::is_regular_file(path, ignored)) return State::kOther;
  const std::string noted = noted_hash(folder_, beside(file, ".metadata"), path);
  const bool same_size = fs::file_size(path, ignored) == file.size;
  if (!noted.empty()) return noted == file.hash && same_size ? State::kCurrent : State::kOlder;
  return same_size && hash_of(path, file) == file.hash ? State::kCurrent : State::kOther;
}

void LocalFolder::prepare() const {
  core::make_folder(kept(folder_));
  const fs::path home = folder_ / kKept;
  mark_as_cache(home);
  std::error_code ignored;
  if (!fs::exists(home / ".gitignore", ignored)) core::write_file(home / ".gitignore", "*");
}

fs::path LocalFolder::incomplete(const RemoteFile& file) const {
  const fs::path note = beside(file, ".metadata");
  core::Digest digest(core::DigestKind::kSha1);
  digest.add(note.filename().string());
  return note.parent_path() / fmt::format("{}.{}.incomplete", base64_of_name(bytes_of(digest.hex())), file.hash);
}

std::optional<core::SharedLock> LocalFolder::try_lock(const RemoteFile& file) const {
  const fs::path lock = beside(file, ".lock");
  core::make_folder(lock.parent_path());
  return core::SharedLock::try_take(lock);
}

void LocalFolder::keep(const RemoteFile& file) const {
  core::make_folder(place(file).parent_path());
  core::move_into_place(incomplete(file), place(file));
  note(file);
}

void LocalFolder::note(const RemoteFile& file) const {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  const fs::path at = beside(file, ".metadata");
  core::make_folder(at.parent_path());
  core::write_file(at, fmt::format("{}\n{}\n{:.6f}\n", commit_, file.hash, now.count()));
}

bool LocalFolder::take_from(const RepoCache& cache, const RemoteFile& file) const {
  if (!cache.has(file)) return false;
  const auto lock = try_lock(file);
  if (!lock) return false;
  BlobWriter out(*this, file);
  out.start_over();
  core::InputFile in(core::FileRef::named(cache.place(file)));
  std::vector<char> buffer(std::size_t{1} << 20);
  while (const std::size_t n = in.read(buffer)) out.write({buffer.data(), n});
  return out.finish();
}

}  // namespace lowrank::data::hub
