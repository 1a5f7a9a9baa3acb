// Pictures: PNG and JPEG by their first bytes.
#include "fuzz.h"
#include "lowrank/data/image.h"

LOWRANK_FUZZ_TARGET(image) {
  const lowrank::data::Image image = lowrank::data::decode_image(input, "x.png");
  const bool sizes = image.width > 0 && image.height > 0 && (image.channels == 1 || image.channels == 3) &&
                     image.pixels.size() == static_cast<std::size_t>(image.width * image.height * image.channels);
  if (!sizes) lowrank_fuzz::broken("a picture with other pixels than its size");
}
