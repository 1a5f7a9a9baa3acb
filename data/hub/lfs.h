// Git LFS as the hub speaks it: the batch call, then each file by one PUT ("basic") or one a part ("multipart").
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lowrank/data/hub/client.h"
#include "lowrank/data/hub/repo.h"

namespace lowrank::data::hub {

struct LfsFile {
  std::string path;  // for messages
  std::string oid;   // SHA-256
  std::span<const std::byte> bytes;
};

/// Sends what the hub does not have; the bytes sent, which also go to the observer from `done` on. FormatError for an
/// answer that cannot be, IoError where a server gives up.
std::uint64_t send_lfs(Client& client, const Repo& repo, const std::vector<LfsFile>& files, std::uint64_t done);

}  // namespace lowrank::data::hub
