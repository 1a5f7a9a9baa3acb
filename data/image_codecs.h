// The decoders behind decode_image, one file a library.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lowrank/data/image.h"

namespace lowrank::data {

/// DataError "<where>: …" for what the library refuses.
Image decode_png(std::string_view bytes, const std::string& where);
Image decode_jpeg(std::string_view bytes, const std::string& where);

/// DataError where a picture of these dimensions is empty or over kMaxPixels; before any memory is taken for it.
void check_dimensions(std::int64_t width, std::int64_t height, const std::string& where);
/// The same, and where it has more pixels than the `at_most` that its bytes can hold however well they are compressed.
void check_dimensions(std::int64_t width, std::int64_t height, const std::string& where, std::uint64_t at_most);

}  // namespace lowrank::data
