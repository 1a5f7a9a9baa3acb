// Where a download puts files: a cache, or a folder of the user's own.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "lowrank/core/shared_files.h"
#include "lowrank/data/hub/remote_file.h"

namespace lowrank::data::hub {

class Store {
 public:
  virtual ~Store() = default;
  virtual const std::filesystem::path& folder() const = 0;
  /// For messages: how to have it on another disk.
  virtual std::string other_disk() const = 0;
  /// Where the file is once it is whole; two files of a listing that have the same place are one.
  virtual std::filesystem::path place(const RemoteFile& file) const = 0;
  virtual bool has(const RemoteFile& file) const = 0;
  /// What has come of it, beside its place.
  virtual std::filesystem::path incomplete(const RemoteFile& file) const = 0;
  /// The lock that huggingface_hub takes for it; nothing while somebody else holds it.
  virtual std::optional<core::SharedLock> try_lock(const RemoteFile& file) const = 0;
  /// Moves what has come of it, which is all and right, to its place.
  virtual void keep(const RemoteFile& file) const = 0;
};

}  // namespace lowrank::data::hub
