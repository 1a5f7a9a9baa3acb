#include "lowrank/data/image.h"

#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"
#include "lowrank/data/image_codecs.h"

namespace lowrank::data {
namespace {

constexpr std::string_view kPng = "\x89PNG\r\n\x1a\n", kJpeg = "\xff\xd8\xff";
constexpr std::uint64_t kMaxFile = std::uint64_t{1} << 28;

}  // namespace

void check_dimensions(std::int64_t width, std::int64_t height, const std::string& where) {
  if (width <= 0 || height <= 0) throw DataError(where + ": the picture has no pixels");
  if (width > kMaxPixels / height)
    throw DataError(
        fmt::format("{}: the picture claims {} x {} pixels, more than the {} that are read; make it smaller", where,
                    core::format_count(width), core::format_count(height), core::format_count(kMaxPixels)));
}

void check_dimensions(std::int64_t width, std::int64_t height, const std::string& where, std::uint64_t at_most) {
  check_dimensions(width, height, where);
  if (static_cast<std::uint64_t>(width * height) > at_most)
    throw DataError(fmt::format("{}: the picture claims {} x {} pixels, more than its bytes can hold: it is broken or cut off",
                                where, core::format_count(width), core::format_count(height)));
}

Image decode_image(std::string_view bytes, const std::string& where) {
  if (bytes.starts_with(kPng)) return decode_png(bytes, where);
  if (bytes.starts_with(kJpeg)) return decode_jpeg(bytes, where);
  throw DataError(fmt::format("{}: {}, so it is no picture; PNG and JPEG are read", where,
                              bytes.empty() ? "the file is empty" : "it begins as neither PNG nor JPEG does"));
}

Image read_image(const core::FileRef& file) {
  return decode_image(core::read_file(file, kMaxFile), file.string());
}

Image with_channels(const Image& image, std::int64_t channels) {
  if (image.channels == channels) return image;
  if (channels != 1 && channels != 3)
    throw ConfigError(fmt::format("pictures are read in 1 channel (gray) or 3 (RGB), not in {}", channels));
  Image result{image.width, image.height, channels, {}};
  const auto count = static_cast<std::size_t>(image.width * image.height);
  result.pixels.resize(count * static_cast<std::size_t>(channels));
  for (std::size_t i = 0; i < count; ++i) {
    if (channels == 3) {
      for (std::size_t c = 0; c < 3; ++c) result.pixels[3 * i + c] = image.pixels[i];
    } else {
      const std::uint8_t* const p = &image.pixels[3 * i];
      result.pixels[i] = static_cast<std::uint8_t>((p[0] * 19595U + p[1] * 38470U + p[2] * 7471U + 0x8000U) >> 16);
    }
  }
  return result;
}

}  // namespace lowrank::data
