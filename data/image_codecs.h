// The decoders behind decode_image, one file a library.
#pragma once

#include <string>
#include <string_view>

#include "lowrank/data/image.h"

namespace lowrank::data {

/// DataError "<where>: …" for what the library refuses.
Image decode_png(std::string_view bytes, const std::string& where);
Image decode_jpeg(std::string_view bytes, const std::string& where);

/// DataError where a picture of these dimensions is empty or over kMaxPixels; before any memory is taken for it.
void check_dimensions(std::int64_t width, std::int64_t height, const std::string& where);

}  // namespace lowrank::data
