// Private to formats/: the decompressing streams.
#pragma once

#include "lowrank/formats/byte_stream.h"

namespace lowrank::formats {

/// Throws DataError when `produced` bytes came of `consumed`, and the budget has no room for them.
void check_growth(const GrowthBudget& budget, std::uint64_t produced, std::uint64_t consumed, const std::string& name);

std::unique_ptr<ByteStream> gunzip(std::unique_ptr<ByteStream> source, const std::string& name,
                                   const GrowthBudget& budget);
std::unique_ptr<ByteStream> unzstd(std::unique_ptr<ByteStream> source, const std::string& name,
                                   const GrowthBudget& budget);

}  // namespace lowrank::formats
