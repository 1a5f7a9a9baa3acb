// Which folder of the token cache a reading belongs to.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/core/files.h"
#include "lowrank/core/progress.h"
#include "lowrank/data/chat/chat_layout.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/sources.h"

namespace lowrank::data {

/// The SHA-256 of a file, remembered in `memory` with its size, times and inode: one that has not changed since is not
/// read again. What was written to in the last two seconds is not remembered, nor what has no name.
std::string remembered_sha256(const core::FileRef& file, const std::filesystem::path& memory);

/// Everything that decides what a reading gives but for the names that its places have: the contents of the sources, in order, and how each is read;
/// tokenizer, layout and options, whose cache there is; and this program. Empty where the tokenizer has no files to be
/// known by.
std::string token_cache_key(const std::vector<Source>& sources, const std::vector<std::string>& digests,
                            const std::vector<std::string>& notes, const Tokenizer& tokenizer,
                            const ChatLayout& layout, const DataOptions& options);

/// The lock on a folder of the cache, which another process that makes the same has until it is made.
std::unique_ptr<core::DirectoryLock> wait_for(const std::filesystem::path& folder, core::ProgressObserver* progress);

}  // namespace lowrank::data
