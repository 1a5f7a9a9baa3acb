// Which file this library is in.
#pragma once

#include <filesystem>

namespace lowrank::core {

/// The file that this library was linked into: the program's, or that of a shared object which it has loaded. Its bytes
/// tell one build from another.
std::filesystem::path own_binary();

}  // namespace lowrank::core
