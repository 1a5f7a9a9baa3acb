// libjpeg leaves by longjmp where a file is broken: no object with a destructor may stand between setjmp and there, so
// the two functions that call it hold plain data only.
#include <cstddef>
#include <cstdio>
// libjpeg's headers need the two above.
#include <jerror.h>
#include <jpeglib.h>

#include <csetjmp>
#include <cstring>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/image_codecs.h"

namespace lowrank::data {
namespace {

constexpr int kMaxScans = 100;  // of a progressive file: each goes over the whole picture
// A block of 64 pixels has a code of at least one bit.
constexpr std::uint64_t kPixelsPerByte = 512;

struct Errors {
  jpeg_error_mgr base;  // first: libjpeg knows this by its address
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

struct Reader {
  jpeg_decompress_struct info;
  Errors errors;
  jpeg_progress_mgr progress;
};

[[noreturn]] void leave(j_common_ptr info) {
  Errors* const errors = reinterpret_cast<Errors*>(info->err);
  (*info->err->format_message)(info, errors->message);
  std::longjmp(errors->jump, 1);
}

// libjpeg fills up what a cut-off file lacks with gray and warns; a training set must not hold that.
void hear(j_common_ptr info, int level) {
  if (level >= 0) return;
  ++info->err->num_warnings;
  if (info->err->msg_code == JWRN_JPEG_EOF || info->err->msg_code == JWRN_HIT_MARKER) leave(info);
}

void watch(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMaxScans) return;
  Errors* const errors = reinterpret_cast<Errors*>(info->err);
  std::strcpy(errors->message, "far too many scans");
  std::longjmp(errors->jump, 1);
}

// False: errors.message says why.
bool read_header(Reader* reader, const unsigned char* bytes, unsigned long size) {
  jpeg_decompress_struct* const info = &reader->info;
  info->err = jpeg_std_error(&reader->errors.base);
  reader->errors.base.error_exit = leave;
  reader->errors.base.emit_message = hear;
  if (setjmp(reader->errors.jump) != 0) return false;
  jpeg_create_decompress(info);
  reader->progress.progress_monitor = watch;
  info->progress = &reader->progress;
  jpeg_mem_src(info, bytes, size);
  jpeg_read_header(info, TRUE);
  info->out_color_space = info->jpeg_color_space == JCS_GRAYSCALE ? JCS_GRAYSCALE : JCS_RGB;
  return true;
}

bool read_pixels(Reader* reader, unsigned char* pixels, std::size_t row_bytes) {
  jpeg_decompress_struct* const info = &reader->info;
  if (setjmp(reader->errors.jump) != 0) return false;
  jpeg_start_decompress(info);
  while (info->output_scanline < info->output_height) {
    JSAMPROW row = pixels + row_bytes * info->output_scanline;
    jpeg_read_scanlines(info, &row, 1);
  }
  jpeg_finish_decompress(info);
  return true;
}

struct Destroy {
  Reader* reader;
  ~Destroy() { jpeg_destroy_decompress(&reader->info); }
};

}  // namespace

Image decode_jpeg(std::string_view bytes, const std::string& where) {
  Reader reader;
  std::memset(&reader, 0, sizeof reader);
  const Destroy at_the_end{&reader};
  const auto fail = [&] {
    throw DataError(where + ": the JPEG is broken or cut off (" + core::printable(reader.errors.message) + ")");
  };
  if (!read_header(&reader, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size())) fail();
  const jpeg_decompress_struct& info = reader.info;
  check_dimensions(info.image_width, info.image_height, where, kPixelsPerByte * bytes.size());
  if (info.num_components == 4)
    throw DataError(where + ": the JPEG is in CMYK; convert it to RGB (magick in.jpg -colorspace sRGB out.jpg)");
  Image result{info.image_width, info.image_height, info.out_color_space == JCS_GRAYSCALE ? 1 : 3, {}};
  result.pixels.resize(static_cast<std::size_t>(result.width * result.height * result.channels));
  if (!read_pixels(&reader, result.pixels.data(), static_cast<std::size_t>(result.width * result.channels))) fail();
  return result;
}

}  // namespace lowrank::data
