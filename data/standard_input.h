// `-`: data that comes through standard input.
#pragma once

#include <filesystem>
#include <string>

namespace lowrank::data {

/// Standard input as a file that can be read, measured and hashed as any other: read to its end at the first call of
/// the process, into a file of the temporary folder that has no name any more. IoError where that fails, DataError
/// where it is a terminal or closed.
std::filesystem::path standard_input();

/// How a file is called in messages: "stdin", or its path.
std::string name_of(const std::filesystem::path& file);

}  // namespace lowrank::data
