// What the hub names a file's bytes by.
#pragma once

#include <cstdint>

#include "lowrank/core/digest.h"

namespace lowrank::data::hub {

/// To add the bytes to: SHA-256 of large files (LFS), of others git's SHA-1 of a blob of that many bytes.
core::Digest blob_hash(bool large, std::uint64_t size);

}  // namespace lowrank::data::hub
