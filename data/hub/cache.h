// A repository in a Hugging Face cache: CACHE/models--ORG--NAME/{blobs, snapshots, refs, .no_exist}, as huggingface_hub
// and transformers keep and read it (https://huggingface.co/docs/huggingface_hub/guides/manage-cache).
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "lowrank/core/error.h"
#include "lowrank/core/shared_files.h"
#include "lowrank/data/hub/repo.h"

namespace lowrank::data::hub {

/// What was named is neither here nor in the cache; `lowrank pull` would bring it.
struct NotDownloaded : MissingError {
  NotDownloaded(Repo the_repo, const std::string& message) : MissingError(message), repo(std::move(the_repo)) {}
  Repo repo;
};

/// The snapshot of a repository in a cache: that of its revision (refs/main, or the commit itself); without refs/main the
/// only one there is. What the cache's files say never leads out of it.
std::optional<std::filesystem::path> find_snapshot(const std::filesystem::path& cache, const Repo& repo);

/// Where files that `name` names lie: the folder or file itself, where it exists; else the snapshot of that repository in
/// the cache of the environment; else nothing. `what` is ORG/NAME's type where the name does not say.
std::optional<std::filesystem::path> local_path(const std::filesystem::path& name, RepoType type);

/// The sentence for a name that local_path finds nowhere: NotDownloaded where `lowrank pull` could bring it. `problem`:
/// how the sentence begins ("org/x: there is no such folder").
[[noreturn]] void throw_not_here(const std::string& problem, const std::filesystem::path& name, RepoType type);

/// What is written into a cache. Every name that comes from a server is checked before it is made part of a path.
class RepoCache {
 public:
  RepoCache(std::filesystem::path cache, const Repo& repo);

  const std::filesystem::path& folder() const { return folder_; }
  /// `hash`: of 40 or 64 lower-case hex digits.
  std::filesystem::path blob(const std::string& hash) const;
  std::filesystem::path incomplete(const std::string& hash) const;
  /// There whole; a link into huggingface_hub's shared store counts.
  bool has_blob(const std::string& hash) const;
  std::filesystem::path snapshot(const std::string& commit) const;

  /// Makes the folders; IoError.
  void prepare() const;
  /// The lock that huggingface_hub takes for a blob; nothing while somebody else holds it.
  std::optional<core::SharedLock> try_lock(const std::string& hash) const;
  /// snapshots/COMMIT/PATH -> the blob.
  void link(const std::string& commit, const std::string& path, const std::string& hash) const;
  /// refs/REVISION holds the commit; nothing where the revision is one.
  void write_ref(const std::string& revision, const std::string& commit) const;
  /// .no_exist/COMMIT/PATH: that snapshot has no such file, and nobody needs to ask again.
  void write_no_exist(const std::string& commit, const std::string& path) const;

 private:
  std::filesystem::path cache_, folder_;
};

/// FormatError for a path of a listing that is not one of plain names beneath the repository ("..", "/x", "a//b", …).
void check_remote_path(const std::string& path, const std::string& where);

}  // namespace lowrank::data::hub
