// Pictures: PNG and JPEG files decoded to bytes. Torch-free.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "lowrank/core/file_ref.h"

namespace lowrank::data {

/// Rows from the top, channels interleaved: pixels[(y · width + x) · channels + c].
struct Image {
  std::int64_t width = 0, height = 0, channels = 0;  // channels: 1 (gray) or 3 (RGB)
  std::vector<std::uint8_t> pixels;
};

/// A picture may have this many pixels; Pillow warns of a decompression bomb from here on.
inline constexpr std::int64_t kMaxPixels = 89'478'485;

/// A PNG or JPEG by its first bytes. Gray stays one channel, everything else becomes RGB; transparency is dropped, as
/// Pillow's convert("RGB") does; sixteen bits become eight; Exif's orientation is not applied. DataError beginning with
/// `where`: neither format, broken or cut off, over kMaxPixels, CMYK.
Image decode_image(std::string_view bytes, const std::string& where);

/// decode_image of a file. MissingError, IoError.
Image read_image(const core::FileRef& file);

/// The picture in gray or RGB: gray by (19595 R + 38470 G + 7471 B) / 2¹⁶ rounded, as Pillow's convert("L").
Image with_channels(const Image& image, std::int64_t channels);

}  // namespace lowrank::data
