// The first bytes of a file tell what it is not.
#pragma once

#include <string>
#include <string_view>

namespace lowrank::data {

/// Throws DataError naming `where` when the first bytes are those of a compressed file, Parquet, UTF-16 or UTF-32.
void refuse_foreign_bytes(std::string_view head, const std::string& where);

}  // namespace lowrank::data
