#include <png.h>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/image_codecs.h"

namespace lowrank::data {
namespace {

/// png_image and what libpng holds for it.
class PngReader {
 public:
  PngReader() { image.version = PNG_IMAGE_VERSION; }
  ~PngReader() { png_image_free(&image); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  png_image image{};
};

/// Pixels that a file of these bytes holds at most: deflate makes at most 1032 bytes of one. `bytes` begin with a header that
/// libpng has read: depth and kind of its samples stand at 24 and 25.
std::uint64_t most_pixels(std::string_view bytes) {
  const unsigned depth = static_cast<unsigned char>(bytes[24]), kind = static_cast<unsigned char>(bytes[25]);
  const unsigned samples = kind == 2 ? 3 : kind == 4 ? 2 : kind == 6 ? 4 : 1;
  return std::uint64_t{bytes.size()} * 1032 * 8 / (depth * samples);
}

}  // namespace

Image decode_png(std::string_view bytes, const std::string& where) {
  PngReader reader;
  png_image& image = reader.image;
  const auto fail = [&] {
    throw DataError(where + ": the PNG is broken or cut off (" + core::printable(image.message) + ")");
  };
  if (png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()) == 0) fail();
  check_dimensions(image.width, image.height, where, most_pixels(bytes));
  const bool color = (image.format & PNG_FORMAT_FLAG_COLOR) != 0;
  // With the alpha channel, so that libpng does not lay the picture over a background.
  image.format = color ? PNG_FORMAT_RGBA : PNG_FORMAT_GA;
  image.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;  // sixteen bits are samples like the eight, not linear light
  std::vector<std::uint8_t> samples(PNG_IMAGE_SIZE(image));
  if (png_image_finish_read(&image, nullptr, samples.data(), 0, nullptr) == 0) fail();

  Image result{image.width, image.height, color ? 3 : 1, {}};
  const std::size_t channels = color ? 3 : 1, count = samples.size() / (channels + 1);
  result.pixels.resize(count * channels);
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t c = 0; c < channels; ++c) result.pixels[i * channels + c] = samples[i * (channels + 1) + c];
  return result;
}

}  // namespace lowrank::data
