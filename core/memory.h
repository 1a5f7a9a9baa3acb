// How much memory this process may still take.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace lowrank::core {

/// Bytes that this process can still take before something stops it: the smallest of the machine's MemAvailable, of
/// what the limits of its control group and of every group above it leave (memory.max and memory.high of version 2,
/// memory.limit_in_bytes of version 1; file cache that is not in use counts as free), and of what `ulimit -v`, `-d` and
/// `-m` leave. Nothing where none of them can be read. `root` holds proc/ and sys/, for tests.
std::optional<std::uint64_t> available_memory(const std::filesystem::path& root = "/");

}  // namespace lowrank::core
