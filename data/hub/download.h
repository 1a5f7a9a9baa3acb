// Bytes from the hub into a cache or folder: in parts at a time, gone on with where they were cut off, checked before they count.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/data/hub/store.h"
#include "lowrank/data/hub/listing.h"

namespace lowrank::data::hub {

struct Downloaded {
  std::uint64_t bytes = 0;    // that came over the network
  std::uint64_t resumed = 0;  // that an earlier, interrupted download had left
  int files = 0;              // that were not there before
};

/// Brings these files into the store. One that another process is fetching is waited for. Each is written
/// from its start to its incomplete file, hashed as it is written, and renamed when size and hash are the listing's; what was
/// written stays for the next time. IoError where a server or the disk gives up; MissingError as throw_status.
Downloaded download(Client& client, const Store& store, const Repo& repo, const Listing& listing,
                    const std::vector<RemoteFile>& files);

}  // namespace lowrank::data::hub
