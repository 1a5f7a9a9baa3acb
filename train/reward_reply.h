// What a reward program answers. Torch-free.
#pragma once

#include <cstdint>
#include <string_view>

namespace lowrank::train {

/// The score of a line {"score": X} or {"id": N, "score": X}. FormatError for anything but a finite number under "score", and
/// for another id than `asked`.
double score_of_reply(std::string_view line, std::int64_t asked);

}  // namespace lowrank::train
