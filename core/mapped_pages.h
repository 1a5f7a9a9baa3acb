// Memory of mapped files that is not needed for now.
#pragma once

#include <cstddef>
#include <span>

namespace lowrank::core {

/// Gives back the whole pages inside these bytes of a read-only mapping of a file: they are read again when they are
/// needed. Advice: nothing is said where the system does not take it.
void release_pages(std::span<const std::byte> mapped);

/// For bytes of such a mapping that are used while those around them are not: where the system keeps a file in large pages
/// (2 MB), what lies outside is not mapped with them. Advice too.
void map_apart(std::span<const std::byte> mapped);

}  // namespace lowrank::core
