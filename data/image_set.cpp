#include "lowrank/data/image_set.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/random.h"
#include "lowrank/core/text.h"

namespace lowrank::data {
namespace {

constexpr std::uint64_t kMaxFile = std::uint64_t{1} << 28;

/// begin() and, however it ends, end().
struct ProgressScope {
  core::ProgressObserver* progress;
  ProgressScope(core::ProgressObserver* observer, std::size_t files) : progress(observer) {
    if (progress != nullptr) progress->begin("reading pictures", static_cast<std::int64_t>(files), "pictures");
  }
  ~ProgressScope() {
    if (progress != nullptr) progress->end();
  }
  ProgressScope(const ProgressScope&) = delete;
  ProgressScope& operator=(const ProgressScope&) = delete;
};

/// DataError of a step that does not know the file's name, with it.
Image shaped(const Image& image, const ImageProcessor& processor, const std::string& file) {
  try {
    return processor.shape(image);
  } catch (const DataError& error) {
    throw DataError(fmt::format("{}: {} ({})", file, error.what(), processor.origin));
  }
}

}  // namespace

std::vector<std::int64_t> ImageSet::support() const {
  std::vector<std::int64_t> counts(classes.size(), 0);
  for (const std::int64_t label : labels) ++counts[static_cast<std::size_t>(label)];
  return counts;
}

void ImageSet::fill(std::span<const std::uint32_t> indices, float* out) const {
  const std::int64_t plane = height * width, picture = channels * plane;
  for (const std::uint32_t index : indices) {
    const std::uint8_t* in = pixels.data() + picture * index;
    for (std::int64_t c = 0; c < channels; ++c) {
      const float* const table = values[static_cast<std::size_t>(c)].data();
      for (std::int64_t i = 0; i < plane; ++i) *out++ = table[*in++];
    }
  }
}

ImageSet ImageSet::subset(const std::vector<std::uint32_t>& indices) const {
  ImageSet part{channels, height, width, {}, {}, {}, classes, values, format, "", notes};
  const auto picture = static_cast<std::size_t>(channels * height * width);
  for (const std::uint32_t i : indices) {
    const auto from = pixels.begin() + static_cast<std::ptrdiff_t>(picture * i);
    part.pixels.insert(part.pixels.end(), from, from + static_cast<std::ptrdiff_t>(picture));
    part.labels.push_back(labels[i]);
    part.names.push_back(names[i]);
  }
  part.sha256 = core::sha256(sha256 + fmt::format("{}", fmt::join(indices, ",")));
  return part;
}

ImageSet load_images(const ImageFiles& files, const std::vector<std::string>& classes, const ImageProcessor& processor,
                     std::int64_t channels, core::ProgressObserver* progress) {
  ImageSet set;
  set.channels = channels;
  set.classes = classes;
  set.format = files.format;
  set.notes = files.notes;
  for (std::int64_t c = 0; c < channels; ++c) set.values.push_back(processor.values(c));
  std::string digests;
  const ProgressScope scope(progress, files.files.size());
  for (const auto& [file, label] : files.files) {
    const auto place = std::find(classes.begin(), classes.end(), label);
    if (place == classes.end())
      throw DataError(fmt::format("{}: the model has no class '{}'{}; it has {}", file.string(), core::printable(label),
                                  core::did_you_mean(label, classes),
                                  core::printable(fmt::format("{}", fmt::join(classes, ", ")), 300)));
    const std::string bytes = core::read_file(file, kMaxFile);
    digests += core::sha256(bytes) + " " + label + "\n";
    const Image image = shaped(with_channels(decode_image(bytes, file.string()), channels), processor, file.string());
    if (set.labels.empty()) {
      set.width = image.width;
      set.height = image.height;
    } else if (image.width != set.width || image.height != set.height) {
      throw DataError(
          fmt::format("{}: is {} x {} after preprocessing and the pictures before it are {} x {}; pictures of "
                      "one run must have one size: have them resized (do_resize in preprocessor_config.json)",
                      file.string(), image.width, image.height, set.width, set.height));
    }
    for (std::int64_t c = 0; c < channels; ++c)
      for (auto i = static_cast<std::size_t>(c); i < image.pixels.size(); i += static_cast<std::size_t>(channels))
        set.pixels.push_back(image.pixels[i]);
    set.labels.push_back(place - classes.begin());
    set.names.push_back(file.string());
    if (progress != nullptr) progress->advance(set.size());
  }
  set.sha256 = core::sha256(digests);
  return set;
}

ImageSplit split_images(const ImageSet& all, double fraction, std::uint64_t seed) {
  const core::RandomStream stream(seed, "image split");
  std::vector<bool> held(all.labels.size(), false);
  for (std::size_t k = 0; k < all.classes.size(); ++k) {
    std::vector<std::uint32_t> own;
    for (std::uint32_t i = 0; i < all.labels.size(); ++i)
      if (all.labels[i] == static_cast<std::int64_t>(k)) own.push_back(i);
    const auto count = static_cast<std::size_t>(std::floor(fraction * static_cast<double>(own.size()) + 0.5));
    const std::vector<std::uint32_t> order = stream.permutation(static_cast<std::uint32_t>(own.size()), k);
    for (std::size_t i = 0; i < count; ++i) held[own[order[i]]] = true;
  }
  std::vector<std::uint32_t> train, validation;
  for (std::uint32_t i = 0; i < held.size(); ++i) (held[i] ? validation : train).push_back(i);
  ImageSplit result;
  if (validation.empty()) {
    result.train = all;
    result.how = "none: there are too few pictures to hold some out; give `val-data`";
    return result;
  }
  result.train = all.subset(train);
  result.validation = all.subset(validation);
  result.how = fmt::format("{:g} % of each class held out, {} pictures", 100 * fraction, validation.size());
  return result;
}

}  // namespace lowrank::data
