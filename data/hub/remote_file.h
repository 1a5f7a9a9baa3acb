// A file of a repository, as the hub lists it.
#pragma once

#include <cstdint>
#include <string>

namespace lowrank::data::hub {

struct RemoteFile {
  std::string path;        // checked: plain names beneath the repository
  std::uint64_t size = 0;  // bytes
  /// The name of its blob: SHA-256 of the bytes for large files (LFS), the SHA-1 that git gives the others.
  std::string hash;
  bool large() const { return hash.size() == 64; }
};

}  // namespace lowrank::data::hub
