// Files of this machine as one commit on the hub: large ones by Git LFS, whole or in parts, small ones in the commit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/core/file_ref.h"
#include "lowrank/data/hub/client.h"
#include "lowrank/data/hub/repo.h"

namespace lowrank::data::hub {

struct LocalFile {
  std::string path;    // in the repository
  core::FileRef file;  // here
  std::uint64_t size = 0;
};

struct Pushed {
  std::string commit;      // empty: there was nothing new
  std::string url;         // of the commit's page
  std::uint64_t bytes = 0; // sent
  int unchanged = 0;       // files that were there already
};

/// Makes the repository; what is there already stays as it is. `is_private` is for one that is made. MissingError, IoError as throw_status.
void create_repo(Client& client, const Repo& repo, bool is_private);

/// Sends the files and commits them to the repository's revision with that message (its first line, and the rest).
/// MissingError, IoError as throw_status; FormatError for answers that cannot be.
Pushed upload(Client& client, const Repo& repo, const std::vector<LocalFile>& files, const std::string& message);

}  // namespace lowrank::data::hub
