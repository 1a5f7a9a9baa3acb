// How much memory this process may still take.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace lowrank::core {

/// Bytes that this process can still take before something stops it: the smallest of the machine's MemAvailable, of
/// what the limits of its control group and of every group above it leave (memory.max and memory.high of version 2,
/// memory.limit_in_bytes of version 1; file cache that is not in use counts as free), and of what `ulimit -v`, `-d` and
/// `-m` leave. Nothing where none of them can be read. `root` holds proc/ and sys/, for tests.
/// `mapped`: of what pages of mapped files count as too; then the limits on address space and data say nothing of it.
std::optional<std::uint64_t> available_memory(const std::filesystem::path& root = "/", bool mapped = false);

/// The part of it that `ulimit -v` and `-d` leave; nothing where they set no limit.
std::optional<std::uint64_t> available_address_space(const std::filesystem::path& root = "/");

/// Bytes of this process that are in memory now, and those of them that are pages of files of this name that it has
/// mapped. Nothing where /proc does not say.
struct Resident {
  std::uint64_t all = 0, of_files = 0;
};
std::optional<Resident> resident_memory(const std::vector<std::filesystem::path>& files,
                                        const std::filesystem::path& root = "/");

}  // namespace lowrank::core
