// A folder that holds a repository's files plainly, by their names, as huggingface_hub's local_dir does: what it knows of
// them lies in FOLDER/.cache/huggingface/download, where huggingface_hub finds it and this program finds what that wrote.
#pragma once

#include <filesystem>
#include <string>

#include "lowrank/data/hub/cache.h"
#include "lowrank/data/hub/listing.h"
#include "lowrank/data/hub/store.h"

namespace lowrank::data::hub {

class LocalFolder : public Store {
 public:
  enum class State {
    kMissing,
    kCurrent,
    kOlder,  // an earlier download's, and as that left it
    kOther,  // neither the listing's nor an earlier download's: the user's own
  };

  /// FormatError for a listing with files where the folder keeps what it knows.
  LocalFolder(std::filesystem::path folder, const Listing& listing);

  /// Reads the file where nothing is known of it.
  State state(const RemoteFile& file) const;
  /// Whether a download has been here.
  static bool is_one(const std::filesystem::path& folder);

  /// Makes the folders; IoError.
  void prepare() const;
  /// Brings a file that a cache has; false where that has it not, or somebody else is bringing it.
  bool take_from(const RepoCache& cache, const RemoteFile& file) const;
  /// Notes that the file is that of the listing's commit.
  void note(const RemoteFile& file) const;

  const std::filesystem::path& folder() const override { return folder_; }
  std::string other_disk() const override { return "give `local-dir` a folder on another disk"; }
  std::filesystem::path place(const RemoteFile& file) const override { return folder_ / file.path; }
  bool has(const RemoteFile& file) const override { return state(file) == State::kCurrent; }
  std::filesystem::path incomplete(const RemoteFile& file) const override;
  std::optional<core::SharedLock> try_lock(const RemoteFile& file) const override;
  void keep(const RemoteFile& file) const override;

 private:
  std::filesystem::path beside(const RemoteFile& file, const char* ending) const;

  std::filesystem::path folder_;
  std::string commit_;
};

}  // namespace lowrank::data::hub
