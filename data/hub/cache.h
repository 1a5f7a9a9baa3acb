// A repository in a Hugging Face cache: CACHE/models--ORG--NAME/{blobs, snapshots, refs, .no_exist}, as huggingface_hub
// and transformers keep and read it (https://huggingface.co/docs/huggingface_hub/guides/manage-cache).
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "lowrank/core/error.h"
#include "lowrank/data/hub/repo.h"
#include "lowrank/data/hub/store.h"

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
class RepoCache : public Store {
 public:
  RepoCache(std::filesystem::path cache, const Repo& repo);

  const std::filesystem::path& folder() const override { return folder_; }
  std::string other_disk() const override { return "set HF_HUB_CACHE to a folder on another disk"; }
  /// The blob, named by the hash: the same bytes by two names are there once.
  std::filesystem::path place(const RemoteFile& file) const override;
  /// There whole; a link into huggingface_hub's shared store counts.
  bool has(const RemoteFile& file) const override;
  std::filesystem::path incomplete(const RemoteFile& file) const override;
  std::optional<core::SharedLock> try_lock(const RemoteFile& file) const override;
  void keep(const RemoteFile& file) const override;
  std::filesystem::path snapshot(const std::string& commit) const;

  /// Makes the folders; IoError.
  void prepare() const;
  /// snapshots/COMMIT/PATH -> the blob.
  void link(const std::string& commit, const RemoteFile& file) const;
  /// refs/REVISION holds the commit; nothing where the revision is one.
  void write_ref(const std::string& revision, const std::string& commit) const;
  /// .no_exist/COMMIT/PATH: that snapshot has no such file, and nobody needs to ask again.
  void write_no_exist(const std::string& commit, const std::string& path) const;

 private:
  std::filesystem::path cache_, folder_;
};

/// Writes the CACHEDIR.TAG by which backups and the like pass a folder over (https://bford.info/cachedir/).
void mark_as_cache(const std::filesystem::path& folder);

/// FormatError for a path of a listing that is not one of plain names beneath the repository ("..", "/x", "a//b", …).
void check_remote_path(const std::string& path, const std::string& where);

}  // namespace lowrank::data::hub
