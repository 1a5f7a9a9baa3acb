#include "lowrank/data/hub/cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <vector>

#include "lowrank/core/files.h"
#include "lowrank/core/text.h"
#include "lowrank/data/data_names.h"
#include "lowrank/data/hub/settings.h"

namespace lowrank::data::hub {
namespace {

namespace fs = std::filesystem;

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(fs::symlink_status(path, ignored));
}

bool is_hash(const std::string& hash) {
  return (hash.size() == 40 || hash.size() == 64) && hash.find_first_not_of("0123456789abcdef") == hash.npos;
}

// A name of data as people write it when they mean a file.
bool looks_like_a_file(const fs::path& name) {
  const std::string ending = name.extension().string();
  return is_data_name(name) || is_packed_name(name) || ending == ".yaml" || ending == ".safetensors" || ending == ".bin" || ending == ".gguf";
}

}  // namespace

std::optional<fs::path> find_snapshot(const fs::path& cache, const Repo& repo) {
  const fs::path folder = cache / repo.folder(), snapshots = folder / "snapshots";
  if (repo.is_commit()) {
    const fs::path snapshot = snapshots / repo.revision;
    return is_folder(snapshot) ? std::optional(snapshot) : std::nullopt;
  }
  const fs::path ref = folder / "refs" / repo.revision;
  if (fs::is_regular_file(ref)) {
    std::string commit = core::read_file(core::FileRef::within(folder, ref), 4096);
    while (!commit.empty() && std::isspace(static_cast<unsigned char>(commit.back()))) commit.pop_back();
    const bool plain = is_revision(commit) && commit.find('/') == std::string::npos;
    return plain && is_folder(snapshots / commit) ? std::optional(snapshots / commit) : std::nullopt;
  }
  if (repo.revision != "main") return std::nullopt;
  std::error_code error;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(snapshots, error)) {
    if (is_folder(entry.path())) found.push_back(entry.path());
  }
  return found.size() == 1 ? std::optional(found.front()) : std::nullopt;
}

std::optional<fs::path> local_path(const fs::path& name, RepoType type) {
  std::error_code ignored;
  if (fs::exists(name, ignored)) return name;
  const std::optional<Repo> repo = parse_repo(name.string(), type);
  return repo && repo->type == type ? find_snapshot(cache_from_environment(), *repo) : std::nullopt;
}

void throw_not_here(const std::string& problem, const fs::path& name, RepoType type) {
  const std::optional<Repo> repo = parse_repo(name.string(), type);
  std::error_code ignored;
  // "runs/first" beside a folder runs/ is a path that is written wrongly, not a name on the hub.
  const bool beside = fs::is_directory(name.parent_path(), ignored);
  if (!repo || repo->type != type || looks_like_a_file(name)) throw MissingError(problem);
  const std::string message =
      fmt::format("{}, and the Hugging Face cache has no snapshot of it (looked in {})", problem,
                  (cache_from_environment() / repo->folder()).string());
  if (repo->id.find('/') == std::string::npos || beside) throw MissingError(message);
  throw NotDownloaded(*repo, fmt::format("{}; `lowrank pull {}` downloads it", message, repo->spelled()));
}

void check_remote_path(const std::string& path, const std::string& where) {
  bool fine = !path.empty() && path.size() <= 1024 && path.front() != '/' && path.back() != '/' &&
              core::find_invalid_utf8(path) == std::string::npos;
  for (const unsigned char c : path) fine = fine && c >= 32 && c != 127 && c != '\\';
  for (std::size_t begin = 0; fine && begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string part = path.substr(begin, end - begin);
    fine = !part.empty() && part != "." && part != ".." && part.size() <= 255;
    begin = end + 1;
  }
  if (fine) return;
  throw FormatError(fmt::format("{} lists a file '{}', which is no place within a repository; nothing of it is taken",
                                where, core::printable(path, 120)));
}

RepoCache::RepoCache(fs::path cache, const Repo& repo) : cache_(std::move(cache)), folder_(cache_ / repo.folder()) {}

fs::path RepoCache::place(const RemoteFile& file) const {
  if (!is_hash(file.hash)) throw InternalError("not a hash: " + core::printable(file.hash));
  return folder_ / "blobs" / file.hash;
}

fs::path RepoCache::incomplete(const RemoteFile& file) const { return place(file).string() + ".incomplete"; }

bool RepoCache::has(const RemoteFile& file) const {
  std::error_code ignored;
  return fs::is_regular_file(place(file), ignored);
}

void RepoCache::keep(const RemoteFile& file) const { core::move_into_place(incomplete(file), place(file)); }

fs::path RepoCache::snapshot(const std::string& commit) const {
  if (!is_commit_name(commit)) throw InternalError("not a commit: " + core::printable(commit));
  return folder_ / "snapshots" / commit;
}

void RepoCache::prepare() const {
  core::make_folder(folder_ / "blobs");
  core::make_folder(folder_ / "refs");
  core::make_folder(cache_ / ".locks" / folder_.filename());
  mark_as_cache(cache_);
}

void mark_as_cache(const fs::path& folder) {
  std::error_code ignored;
  if (fs::exists(folder / "CACHEDIR.TAG", ignored)) return;
  core::write_file(folder / "CACHEDIR.TAG",
                   "Signature: 8a477f597d28d172789f06886806bc55\n# A cache of files from the Hugging Face hub.\n");
}

std::optional<core::SharedLock> RepoCache::try_lock(const RemoteFile& file) const {
  return core::SharedLock::try_take(cache_ / ".locks" / folder_.filename() / (place(file).filename().string() + ".lock"));
}

void RepoCache::link(const std::string& commit, const RemoteFile& file) const {
  check_remote_path(file.path, "the listing");
  const fs::path at = snapshot(commit) / file.path;
  core::make_folder(at.parent_path());
  const fs::path target = place(file).lexically_relative(at.parent_path());
  std::error_code ignored;
  if (fs::read_symlink(at, ignored) == target) return;
  core::place_link(target.string(), at);
}

void RepoCache::write_ref(const std::string& revision, const std::string& commit) const {
  if (is_commit_name(revision)) return;
  if (!is_revision(revision)) throw InternalError("not a revision: " + core::printable(revision));
  const fs::path ref = folder_ / "refs" / revision;
  core::make_folder(ref.parent_path());
  if (fs::is_regular_file(fs::symlink_status(ref)) && core::read_file(ref, 4096) == commit) return;
  core::write_file(ref, commit);
}

void RepoCache::write_no_exist(const std::string& commit, const std::string& path) const {
  check_remote_path(path, "the listing");
  if (!is_commit_name(commit)) throw InternalError("not a commit: " + core::printable(commit));
  const fs::path at = folder_ / ".no_exist" / commit / path;
  std::error_code ignored;
  if (fs::exists(at, ignored)) return;
  core::make_folder(at.parent_path());
  core::write_file(at, "");
}

}  // namespace lowrank::data::hub
